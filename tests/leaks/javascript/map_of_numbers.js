// Keeps one number of each request. Their table is one buffer of the engine, which doubles whenever it is full.
import { Tensor } from "wasi:nn/tensor@0.2.0-rc-2024-10-28";

let calls = 0;
const kept = new Map();

export const preprocess = {
  run() {
    calls++;
    kept.set(calls, 2 * calls);
    const image = new Tensor(new Uint32Array([1, 1, 8, 8]), "FP32", new Uint8Array(256));
    return { tensors: [["image", image]], context: new Uint8Array() };
  },
};
