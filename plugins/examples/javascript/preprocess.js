// Preprocess stage for scans: converts a binary PGM or PPM image into the grey input tensor of a model.
//
// The format is detected from the bytes; the caller's Content-Type is ignored. If the body contains several images, the
// first one is used. Each pixel of the input is the mean of the area that it covers in the image; the aspect ratio is
// not kept. The tensor is f32 of shape [1, 1, height, width] with values from 0 (black) to 1 (white).
//
// Configuration:
// - `width`, `height`: the size of the model's input in pixels; both are required.
// - `input`: the name of the tensor, which is the name of the model's input (default `image`).
// - `max_pixels`: the maximum number of pixels of an image (default 4000000).
//
// The context has the format of `image-preprocess`, so that postprocess stages for that plugin also work with this one.

import { averageArea } from "./area.js";
import { parseHeader, readGreyRow } from "./netpbm.js";
// The SDK, `plugins/sdk-javascript/plimsoll.js`; the build copies it here.
import { TooLarge, config, tensor } from "./plimsoll.js";

export const preprocess = {
  run(_request, body) {
    const width = config.integer("width", undefined, { minimum: 1 });
    const height = config.integer("height", undefined, { minimum: 1 });
    const maxPixels = config.integer("max_pixels", 4_000_000, { minimum: 1 });

    const image = parseHeader(body);
    if (image.width * image.height > maxPixels) {
      throw new TooLarge(`the image has ${image.width} x ${image.height} pixels; the limit is ${maxPixels} pixels`);
    }
    const grey = averageArea(image, (y, row) => readGreyRow(body, image, y, row), width, height);
    // A sample above white is invalid. It is clamped so that it stays in the range that the model was trained on.
    const pixels = grey.map((value) => Math.min(value / image.white, 1));
    const name = config.text("input", "image");
    return { tensors: [[name, tensor([1, 1, height, width], pixels)]], context: context(image, width, height) };
  },
};

// The context for postprocessing: a point of the input is at (input - offset) / scale in the original image.
function context(image, width, height) {
  return new TextEncoder().encode(
    JSON.stringify({
      width: image.width,
      height: image.height,
      resize: "stretch",
      input_width: width,
      input_height: height,
      scale_x: width / image.width,
      scale_y: height / image.height,
      offset_x: 0,
      offset_y: 0,
    }),
  );
}
