import assert from "node:assert";
import { test } from "node:test";

import { difference, scaled } from "./compute.js";

test("a body must fill the shape", () => {
  assert.equal(difference([1, 2, 2], 4).more, 0);
  assert.equal(difference([2, 2], 3).more, -1);
  assert.match(difference([2, 2], 5).message, /has 5 bytes.*\[2, 2\] needs 4/);
});

test("bytes are scaled", () => {
  assert.deepEqual(Array.from(scaled([0, 255])), [0, 1]);
});
