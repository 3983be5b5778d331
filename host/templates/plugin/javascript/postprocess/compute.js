// The computation of the stage, without calls to the host, so that its tests run on the development machine.

// The message that names the first value that is NaN or infinite, which JSON cannot represent; or undefined.
export function notFinite(outputs) {
  for (const { name, values } of outputs) {
    const index = values.findIndex((value) => !Number.isFinite(value));
    if (index >= 0) return `value ${index} of output \`${name}\` is not a finite number`;
  }
}

// The reply for outputs, each with name, shape and values in row-major order.
export function answer(outputs) {
  return { outputs: outputs.map(({ name, shape, values }) => ({ name, shape, values: Array.from(values) })) };
}
