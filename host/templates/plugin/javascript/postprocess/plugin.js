// The postprocess stage `{{name}}`: returns the model's outputs, which must be FP32 tensors, as JSON.
//
// Reply: `{"outputs":[{"name":"logits","shape":[1,3],"values":[0.5,-1.0,2.25]}, …]}`.

import { Internal, jsonReply, shape, values } from "./plimsoll/plimsoll.js";
import { answer, notFinite } from "./compute.js";

/** @type {import("./plimsoll/plimsoll.js").Postprocess} */
export const postprocess = {
  run(_request, outputs, _context) {
    const read = outputs.map(([name, tensor]) => ({ name, shape: shape(tensor), values: values(tensor) }));
    // A fault of the model or of this plugin, never of the caller's request.
    const message = notFinite(read);
    if (message) throw new Internal(message);
    return jsonReply(answer(read));
  },
};
