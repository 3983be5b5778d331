// Keeps the last 1,000 numbers: a table that is full.
import { Tensor } from "wasi:nn/tensor@0.2.0-rc-2024-10-28";

let calls = 0;
const kept = new Set();

export const preprocess = {
  run() {
    calls++;
    kept.add(calls);
    if (kept.size > 1000) kept.delete(kept.values().next().value);
    const image = new Tensor(new Uint32Array([1, 1, 8, 8]), "FP32", new Uint8Array(256));
    return { tensors: [["image", image]], context: new Uint8Array() };
  },
};
