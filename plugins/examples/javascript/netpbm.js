// Reads binary Netpbm: PGM (`P5`, grey) and PPM (`P6`, colour).
//
// A header consists of the magic number, width, height and the maximum value (white), separated by white space and
// comments. One byte of white space ends it. A sample has one byte, or two bytes (big-endian) if white is above 255.

import { InvalidInput, UnsupportedMediaType } from "./plimsoll.js";

// The weights of red, green and blue of ITU-R BT.709, as in `image-preprocess`.
const COLOUR = [0.2126, 0.7152, 0.0722];

const HASH = 0x23;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

// Parses the header of the body and checks that all pixels are present. Returns { width, height, white, weights,
// start }: `weights` has the weight of each byte of a pixel in its grey value; `start` is the offset of the first
// pixel.
export function parseHeader(body) {
  if (body.length === 0) throw new InvalidInput("the body is empty; it must be a binary PGM or PPM image");
  const magic = String.fromCharCode(...body.subarray(0, 2));
  if (magic !== "P5" && magic !== "P6") {
    throw new UnsupportedMediaType("the body is not a binary PGM (P5) or PPM (P6) image; other formats are not supported");
  }

  let at = 2;
  // Reads the next number. At least one byte of white space or comment must precede it.
  const number = (name, maximum) => {
    const before = at;
    at = skipBlank(body, at);
    const start = at;
    let value = 0;
    // Nine digits are enough for every limit, and the number stays exact.
    while (at < body.length && isDigit(body[at]) && at - start < 9) value = value * 10 + (body[at++] - 0x30);
    if (start === before || at === start) throw new InvalidInput(`the ${magic} header has no ${name}`);
    if (value < 1 || value > maximum || isDigit(body[at])) {
      throw new InvalidInput(`the ${name} in the ${magic} header must be from 1 to ${maximum}`);
    }
    return value;
  };
  const width = number("width", 99_999_999);
  const height = number("height", 99_999_999);
  const white = number("maximum value", 65_535);
  if (!isBlank(body[at])) throw new InvalidInput(`the ${magic} header does not end with white space`);

  const channels = magic === "P6" ? COLOUR : [1];
  const weights = white > 255 ? channels.flatMap((weight) => [256 * weight, weight]) : channels;
  const start = at + 1;
  const needed = width * height * weights.length;
  const given = body.length - start;
  if (given < needed) {
    throw new InvalidInput(`the ${magic} image of ${width} x ${height} needs ${needed} bytes of samples; the body has ${given}`);
  }
  return { width, height, white, weights, start };
}

// Writes row `y` as grey values from 0 to `white` into `row`, a Float32Array of the image's width.
export function readGreyRow(body, { width, weights, start }, y, row) {
  let at = start + y * width * weights.length;
  if (weights.length === 1) {
    // The script is interpreted, so copying the row with a built-in method is much faster than a loop.
    row.set(body.subarray(at, at + width));
    return;
  }
  // For the same reason the inner loop uses a counter: `for of` would call the array's iterator for every byte.
  for (let x = 0; x < width; x++) {
    let sum = 0;
    for (let byte = 0; byte < weights.length; byte++) sum += weights[byte] * body[at++];
    row[x] = sum;
  }
}

// Returns the offset of the first byte at or after `at` that is neither white space nor part of a comment.
function skipBlank(body, at) {
  while (at < body.length) {
    if (body[at] === HASH) {
      while (at < body.length && body[at] !== LINE_FEED && body[at] !== CARRIAGE_RETURN) at++;
    } else if (isBlank(body[at])) {
      at++;
    } else {
      break;
    }
  }
  return at;
}

function isBlank(byte) {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

function isDigit(byte) {
  return byte >= 0x30 && byte <= 0x39;
}
