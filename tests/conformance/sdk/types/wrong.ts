// Wrong uses of the SDK for JavaScript: the compiler must reject each line that is marked, and no other one.

import { InvalidInput, assets, config, find, jsonReply, shape, tensor, values } from "./plimsoll.js";
import type { Infer, NamedTensor, Postprocess, Preprocess, Request } from "./plimsoll.js";
import { missing } from "./plimsoll.js"; // wrong

declare const request: Request;
declare const tensors: NamedTensor[];

export const width: string = config.integer("width"); // wrong
config.integer("width", "3"); // wrong
config.integer("width", 3, { min: 1 }); // wrong
config.integer(); // wrong
config.flag("invert", "true"); // wrong
config.list("names", "a,b"); // wrong
config.only(["width"]); // wrong
config.string("input"); // wrong
assets.read("labels.txt"); // wrong
export const labels: string = assets.labels("labels.txt"); // wrong
tensor(3, [1, 2, 3]); // wrong
tensor([3], "abc"); // wrong
tensor([3], new Int16Array(3)); // wrong
tensor([3]); // wrong
shape([1, 2, 3]); // wrong
values(tensors); // wrong
find(tensors, 0); // wrong
find(tensors).ty() === "F32"; // wrong
find(tensors).shape(); // wrong
export const type: string = request.contentType; // wrong
request.content_type; // wrong
jsonReply(); // wrong
throw_(new InvalidInput()); // wrong
throw_(new InvalidInput(422)); // wrong
export const a: Preprocess = { run: (_request, _body) => ({ tensors: [] }) }; // wrong
export const b: Preprocess = { run: async (_request, context) => ({ tensors: [], context }) }; // wrong
export const c: Preprocess = { process: (_request, context) => ({ tensors: [], context }) }; // wrong
export const d: Infer = { run: (_request, inputs) => inputs[0] }; // wrong
export const e: Infer = { run: (_request, inputs) => inputs.map(([, tensor]) => tensor) }; // wrong
export const f: Postprocess = { run: (_request, outputs) => ({ contentType: "text/plain", body: "text" }) }; // wrong
export const g: Postprocess = { run: (_request, outputs) => values(find(outputs)) }; // wrong
export const h: Postprocess = { run: (_request, _outputs, _context, _more) => jsonReply(1) }; // wrong

function throw_(error: Error): never {
  throw error;
}
