// The helpers of `plugins/sdk-javascript`, with the functions of the host replaced by these.
//
//     node tests/conformance/sdk/javascript_sdk.mjs

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const CONFIG = new Map(), ASSETS = new Map();
globalThis.host = {
  read(name) {
    if (!ASSETS.has(name)) throw { payload: `there is no asset \`${name}\`` };
    return ASSETS.get(name);
  },
  get: (key) => CONFIG.get(key),
  getAll: () => [...CONFIG],
  Tensor: class {
    constructor(dimensions, ty, data) {
      this.parts = [dimensions, ty, data];
    }
    dimensions() {
      return this.parts[0];
    }
    ty() {
      return this.parts[1];
    }
    data() {
      return this.parts[2];
    }
  },
};
const source = await readFile(new URL("../../../plugins/sdk-javascript/plimsoll.js", import.meta.url), "utf8");
const imports = /^import (\{.*\}) from "(plimsoll|wasi):.*";$/gm;
assert.equal(source.match(imports)?.length, 3);
const local = source.replace(imports, "const $1 = globalThis.host;");
const sdk = await import(`data:text/javascript;base64,${Buffer.from(local).toString("base64")}`);
const { Internal, InvalidInput, TooLarge, UnsupportedMediaType, assets, config, find, jsonReply, shape, tensor, values } = sdk;

// A failure of the stage with these words.
function refused(words, call, kind = Internal) {
  assert.throws(call, (error) => {
    assert.ok(error instanceof kind, String(error));
    assert.ok(error.val.includes(words), `${JSON.stringify(words)} is missing in ${JSON.stringify(error.val)}`);
    return true;
  });
}

for (const pair of Object.entries({ name: "a b", count: " 7 ", part: "0.25", on: "true", off: "false", list: "1, 2,3", bad: "x", blank: " " })) CONFIG.set(...pair);
assert.equal(config.text("name"), "a b");
assert.equal(config.text("none", "d"), "d");
refused("`none` is missing", () => config.text("none"));
assert.equal(config.integer("count"), 7);
assert.equal(config.integer("none", 3, { minimum: 5 }), 3);
refused('`bad`: "x" is not a whole number', () => config.integer("bad"));
refused('"0.25" is not a whole number', () => config.integer("part"));
refused("is not a whole number", () => config.integer("blank"));
refused("7 is less than 8", () => config.integer("count", undefined, { minimum: 8 }));
refused("7 is greater than 6", () => config.integer("count", 1, { maximum: 6 }));
assert.equal(config.number("part"), 0.25);
refused("is not a number", () => config.number("bad"));
assert.equal(config.flag("on"), true);
assert.equal(config.flag("off"), false);
assert.equal(config.flag("none", true), true);
refused('"x" is neither true nor false', () => config.flag("bad"));
assert.deepEqual(config.list("list"), ["1", "2", "3"]);
assert.deepEqual(config.list("none", []), []);
config.only(...CONFIG.keys());
refused("unknown configuration key `name`", () => config.only("count"));

ASSETS.set("labels", new TextEncoder().encode("\ufeffcat\r\n\r\ndog \r\n\r\n"));
ASSETS.set("empty", new TextEncoder().encode("\n"));
assert.deepEqual(assets.labels("labels"), ["cat", "", "dog"]);
assert.equal(assets.bytes("empty").length, 1);
refused("there is no asset `none`", () => assets.bytes("none"));
refused("`empty`: the file contains no label", () => assets.labels("empty"));

const made = tensor([2, 2], [1, 2.5, -3, 0]);
assert.equal(made.ty(), "FP32");
assert.deepEqual(shape(made), [2, 2]);
assert.deepEqual([...values(made)], [1, 2.5, -3, 0]);
for (const array of [Float64Array.of(0.1), Uint8Array.of(255), Int32Array.of(-5), BigInt64Array.of(2n ** 40n)]) {
  const read = values(tensor([1], array));
  assert.equal(read.constructor, array.constructor);
  assert.deepEqual([...read], [...array]);
}
// A part of a larger buffer.
assert.deepEqual([...tensor([2], Uint8Array.of(1, 2, 3, 4).subarray(1, 3)).data()], [2, 3]);
refused("shape [3] has 3 elements, but 2 were given", () => tensor([3], [1, 2]));
refused("a tensor is made of numbers", () => tensor([1], "a"));
const half = new host.Tensor(Uint32Array.of(1), "FP16", new Uint8Array(2));
refused("a tensor of FP16 cannot be read", () => values(half));
const pairs = [["a", made], ["b", half]];
assert.equal(find(pairs, "b"), half);
assert.equal(find(pairs.slice(0, 1)), made);
refused("there is no tensor `c`; the tensors are: a, b", () => find(pairs, "c"));
refused("name one of the tensors: a, b", () => find(pairs));

const answer = jsonReply({ "ä": [1, 0.5] });
assert.equal(answer.contentType, "application/json");
assert.deepEqual(JSON.parse(new TextDecoder().decode(answer.body)), { "ä": [1, 0.5] });
refused("is not a finite number", () => jsonReply({ score: NaN }));
for (const [kind, tag] of [[UnsupportedMediaType, "unsupported-media-type"], [InvalidInput, "invalid-input"], [TooLarge, "too-large"], [Internal, "internal"]]) {
  const failure = new kind("words");
  assert.deepEqual([failure.tag, failure.val], [tag, "words"]);
}
console.log("the helpers of the SDK for JavaScript are right");
