// The preprocess stage `{{name}}`: converts the bytes of the body into the tensor `image` of FP32 values from 0 to 1.
//
// Configuration: `shape`, the sizes of the tensor's dimensions, for example `[1, 1, 8, 8]`. The body must have one byte per
// element. Without `shape`, the tensor is one row with all bytes of the body.

import { Internal, InvalidInput, TooLarge, config, tensor } from "./plimsoll/plimsoll.js";
import { difference, scaled } from "./compute.js";

/** @type {import("./plimsoll/plimsoll.js").Preprocess} */
export const preprocess = {
  run(_request, body) {
    config.only("shape");
    if (body.length === 0) throw new InvalidInput("the body is empty");
    const shape = config.list("shape", [`${1}`, `${body.length}`]).map(Number);
    if (!shape.every((size) => Number.isSafeInteger(size) && size > 0)) {
      throw new Internal(`configuration key \`shape\`: ${shape} is not a list of sizes`);
    }
    const { more, message } = difference(shape, body.length);
    if (more > 0) throw new TooLarge(message);
    if (more < 0) throw new InvalidInput(message);
    // The context is passed to postprocessing unchanged. Example: the size of the original image.
    return { tensors: [["image", tensor(shape, scaled(body))]], context: new Uint8Array() };
  },
};
