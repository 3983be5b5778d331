// The computation of the stage, without calls to the host, so that its tests run on the development machine.

// How many bytes a body of `length` bytes has more than the shape has elements, and the message that says so.
export function difference(shape, length) {
  const needed = shape.reduce((product, size) => product * size, 1);
  const message = `the body has ${length} bytes, but a tensor of shape [${shape.join(", ")}] needs ${needed}`;
  return { more: length - needed, message };
}

// Converts bytes to numbers from 0 to 1.
export function scaled(body) {
  return Float32Array.from(body, (byte) => byte / 255);
}
