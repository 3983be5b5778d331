// The preprocess stage for scans: a binary PGM or PPM becomes the grey input tensor of a model.
//
// The bytes alone decide what the body is: the caller's Content-Type is ignored. Of several images in one body
// the first counts. Each pixel of the input is the mean of the area that it covers in the image; the aspect
// ratio is not kept. The tensor is f32 of shape [1, 1, height, width] with values from 0 (black) to 1 (white).
//
// Configuration:
// - `width`, `height`: the size of the model's input in pixels; both are required.
// - `input`: the name of the tensor, that is of the model's input (default `image`).
// - `max_pixels`: the most pixels that an image may have (default 4000000).
//
// The context is that of `image-preprocess`, so that its postprocess stages work behind this one too.

import { get } from "wasi:config/store@0.2.0-rc.1";
import { Tensor } from "wasi:nn/tensor@0.2.0-rc-2024-10-28";

import { averageArea } from "./area.js";
import { parseHeader, readGreyRow } from "./netpbm.js";
import { internal, tooLarge } from "./failure.js";

export const preprocess = {
  run(_request, body) {
    const width = configNumber("width");
    const height = configNumber("height");
    const maxPixels = configNumber("max_pixels", 4_000_000);

    const image = parseHeader(body);
    if (image.width * image.height > maxPixels) {
      tooLarge(`the image has ${image.width} x ${image.height} pixels; the limit is ${maxPixels} pixels`);
    }
    const grey = averageArea(image, (y, row) => readGreyRow(body, image, y, row), width, height);
    // A sample above white is against the format; it must not leave the range that the model was trained on.
    const pixels = grey.map((value) => Math.min(value / image.white, 1));

    // The bytes of a wasi:nn tensor are little-endian, and so are those of a Float32Array in WebAssembly.
    const tensor = new Tensor(new Uint32Array([1, 1, height, width]), "FP32", new Uint8Array(pixels.buffer));
    return { tensors: [[get("input") ?? "image", tensor]], context: context(image, width, height) };
  },
};

// The text of a key as a whole number of 1 or more. Whoever deploys sets it, so a wrong one is no caller's fault.
function configNumber(key, fallback) {
  const text = get(key);
  if (text === undefined && fallback !== undefined) return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    internal(`configuration key \`${key}\`: ${text ?? "nothing"} is no whole number of 1 or more`);
  }
  return value;
}

// Where a point of the input lies in the original: at (input - offset) / scale.
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
