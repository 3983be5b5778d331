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
    // A sample above white is invalid. It is clamped so that it stays in the range that the model was trained on.
    const pixels = grey.map((value) => Math.min(value / image.white, 1));

    // The bytes of a wasi:nn tensor are little-endian, like those of a Float32Array in WebAssembly.
    const tensor = new Tensor(new Uint32Array([1, 1, height, width]), "FP32", new Uint8Array(pixels.buffer));
    return { tensors: [[get("input") ?? "image", tensor]], context: context(image, width, height) };
  },
};

// Reads a key as a whole number of at least 1. A wrong value is a configuration error, so it is not the caller's fault.
function configNumber(key, fallback) {
  const text = get(key);
  if (text === undefined && fallback !== undefined) return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    internal(`configuration key \`${key}\`: ${text ?? "nothing"} is not a whole number of at least 1`);
  }
  return value;
}

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
