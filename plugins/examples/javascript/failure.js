// The cases of `plimsoll:stage/types.failure`. A thrown object with `tag` and `val` becomes the error of the export's
// result. Any other exception is a trap.

export function unsupportedMediaType(val) {
  throw { tag: "unsupported-media-type", val };
}

export function invalidInput(val) {
  throw { tag: "invalid-input", val };
}

export function tooLarge(val) {
  throw { tag: "too-large", val };
}

export function internal(val) {
  throw { tag: "internal", val };
}
