import assert from "node:assert";
import { test } from "node:test";

import { answer, notFinite } from "./compute.js";

test("outputs are listed", () => {
  const outputs = [{ name: "logits", shape: [1, 3], values: [0.5, -1, 2.25] }];
  assert.deepEqual(answer(outputs), { outputs });
});

test("the message names the value that is not finite", () => {
  assert.match(notFinite([{ name: "logits", shape: [2], values: [0.5, NaN] }]), /value 1 of output `logits`/);
  assert.equal(notFinite([{ name: "logits", shape: [1], values: [0.5] }]), undefined);
});
