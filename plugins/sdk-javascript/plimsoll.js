// Helpers for Plimsoll plugins in JavaScript; `plimsoll.d.ts` has their types for editors.
//
// A plugin is one module that exports `preprocess`, `infer` or `postprocess`: an object with the function `run`, which the
// host calls once for each request, in a new instance. The top of the module runs when the plugin is built. Functions of
// the host (`config`, `assets`, tensors) can be called only in `run`.

import { read } from "plimsoll:stage/assets@0.1.0";
import { get, getAll } from "wasi:config/store@0.2.0-rc.1";
import { Tensor } from "wasi:nn/tensor@0.2.0-rc-2024-10-28";

// A failure ends the request with an error: an object with `tag` and `val` becomes the error of the export's result. Any
// other exception is a trap: status 500, with the message in the log.
class Failure extends Error {
  constructor(tag, message) {
    super(message);
    this.tag = tag;
    this.val = message;
  }
}

export class UnsupportedMediaType extends Failure {
  constructor(message) {
    super("unsupported-media-type", message);
  }
}

export class InvalidInput extends Failure {
  constructor(message) {
    super("invalid-input", message);
  }
}

export class TooLarge extends Failure {
  constructor(message) {
    super("too-large", message);
  }
}

export class Internal extends Failure {
  constructor(message) {
    super("internal", message);
  }
}

// The table `config` of the stage. The host passes numbers, booleans and strings as text, and a list as the texts of its
// items joined by commas. A wrong value is `Internal`, because it is not the caller's fault.
export const config = {
  text(key, fallback) {
    const value = get(key) ?? fallback;
    if (value === undefined) throw new Internal(`configuration key \`${key}\` is missing`);
    return value;
  },

  integer(key, fallback, { minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER } = {}) {
    return ranged(key, fallback, minimum, maximum, Number.isSafeInteger, "a whole number");
  },

  number(key, fallback, { minimum = -Infinity, maximum = Infinity } = {}) {
    return ranged(key, fallback, minimum, maximum, Number.isFinite, "a number");
  },

  flag(key, fallback) {
    const value = config.text(key, fallback);
    if (typeof value === "boolean") return value;
    if (value !== "true" && value !== "false") {
      throw new Internal(`configuration key \`${key}\`: ${JSON.stringify(value)} is neither true nor false`);
    }
    return value === "true";
  },

  list(key, fallback) {
    const value = config.text(key, fallback);
    return typeof value === "string" ? value.split(",").map((item) => item.trim()) : value;
  },

  only(...known) {
    for (const [key] of getAll()) {
      if (!known.includes(key)) {
        throw new Internal(`unknown configuration key \`${key}\`; known keys: ${known.join(", ")}`);
      }
    }
  },
};

function ranged(key, fallback, minimum, maximum, isValid, meaning) {
  const text = config.text(key, fallback);
  const value = typeof text === "string" && text.trim() !== "" ? Number(text) : text;
  if (value === fallback) return value;
  if (!isValid(value)) throw new Internal(`configuration key \`${key}\`: ${JSON.stringify(text)} is not ${meaning}`);
  if (value < minimum) throw new Internal(`configuration key \`${key}\`: ${value} is less than ${minimum}`);
  if (value > maximum) throw new Internal(`configuration key \`${key}\`: ${value} is greater than ${maximum}`);
  return value;
}

// The files of the table `assets`.
export const assets = {
  bytes(name) {
    try {
      return read(name);
    } catch (error) {
      throw new Internal(error.payload ?? String(error));
    }
  },

  // One label for each line; blank lines at the end, a byte order mark and Windows line ends are ignored.
  labels(name) {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(assets.bytes(name)).trimEnd();
    if (text === "") throw new Internal(`labels \`${name}\`: the file contains no label`);
    return text.split("\n").map((line) => line.trim());
  },
};

const TYPES = [
  ["FP32", Float32Array],
  ["FP64", Float64Array],
  ["U8", Uint8Array],
  ["I32", Int32Array],
  ["I64", BigInt64Array],
];

// A tensor of this shape. `values` is a typed array, whose type becomes the type of the elements, or an array of numbers,
// which become FP32. Elements are row-major.
export function tensor(shape, values) {
  const typed = Array.isArray(values) ? Float32Array.from(values) : values;
  const [type] = TYPES.find(([, array]) => typed instanceof array) ?? [];
  if (type === undefined) throw new Internal("a tensor is made of numbers or of a Float32Array, Float64Array, Uint8Array, Int32Array or BigInt64Array");
  const count = shape.reduce((product, size) => product * size, 1);
  if (count !== typed.length) {
    throw new Internal(`a tensor of shape [${shape.join(", ")}] has ${count} elements, but ${typed.length} were given`);
  }
  // The bytes of a tensor are little-endian, like those of typed arrays in WebAssembly.
  return new Tensor(Uint32Array.from(shape), type, new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength));
}

// The elements of a tensor as the typed array of their type. There is none for FP16 and BF16.
export function values(tensor) {
  const [, array] = TYPES.find(([type]) => type === tensor.ty()) ?? [];
  if (array === undefined) {
    throw new Internal(`a tensor of ${tensor.ty()} cannot be read as numbers: let the model return FP32`);
  }
  const bytes = tensor.data();
  // A copy, because an array of larger elements needs an aligned buffer.
  return new array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

// The sizes of a tensor's dimensions.
export function shape(tensor) {
  return Array.from(tensor.dimensions());
}

// The tensor with this name, or the only one if no name is given.
export function find(tensors, name) {
  if (name === undefined && tensors.length === 1) return tensors[0][1];
  const [, found] = tensors.find(([known]) => known === name) ?? [];
  if (found === undefined) {
    const known = tensors.map(([known]) => known).join(", ") || "none";
    throw new Internal(name === undefined ? `name one of the tensors: ${known}` : `there is no tensor \`${name}\`; the tensors are: ${known}`);
  }
  return found;
}

// A reply with `value` as JSON. NaN and infinity are an error, because JSON cannot represent them.
export function jsonReply(value) {
  const text = JSON.stringify(value, (key, item) => {
    if (typeof item === "number" && !Number.isFinite(item)) throw new Internal(`a value of the reply (${key}) is not a finite number`);
    return item;
  });
  return { contentType: "application/json", body: new TextEncoder().encode(text) };
}
