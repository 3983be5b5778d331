// The infer stage `{{name}}`: passes the tensors from preprocessing to the pipeline's model, which the host runs.
//
// Configuration: `model`, the name of a model in `plimsoll.toml`. The host sets it to the `model` of the pipeline.

import { loadByName } from "wasi:nn/graph@0.2.0-rc-2024-10-28";
import { Internal, TooLarge, config } from "./plimsoll/plimsoll.js";

/** @type {import("./plimsoll/plimsoll.js").Infer} */
export const infer = {
  run(_request, inputs) {
    const model = config.text("model");
    try {
      // By name, because the host has already loaded the model. It does not let a stage use any other model.
      const context = loadByName(model).initExecutionContext();
      // Tensors are handles: neither the inputs nor the outputs are copied into the plugin. To change tensors before or
      // after the model, read and create them here with `values` and `tensor` of `plimsoll.js`.
      return context.compute(inputs);
    } catch (error) {
      // The payload is an error of `wasi:nn`; anything else is a bug of this plugin.
      if (error.payload === undefined) throw error;
      const failure = error.payload.code() === "too-large" ? TooLarge : Internal;
      throw new failure(error.payload.data());
    }
  },
};
