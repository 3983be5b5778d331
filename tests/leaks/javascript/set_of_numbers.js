// Keeps a hundred numbers of each request. Their table is one buffer of the engine, which doubles whenever it is full.
import { Tensor } from "wasi:nn/tensor@0.2.0-rc-2024-10-28";

let calls = 0;
const kept = new Set();

export const preprocess = {
  run() {
    calls++;
    for (let at = 0; at < 100; at++) kept.add(calls * 100 + at);
    const image = new Tensor(new Uint32Array([1, 1, 8, 8]), "FP32", new Uint8Array(256));
    return { tensors: [["image", image]], context: new Uint8Array() };
  },
};
