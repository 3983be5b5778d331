// Every export of the SDK for JavaScript, used as its documentation says. The compiler must accept this file.

import {
  Internal,
  InvalidInput,
  TooLarge,
  UnsupportedMediaType,
  assets,
  config,
  find,
  jsonReply,
  shape,
  tensor,
  values,
} from "./plimsoll.js";
import type {
  Elements,
  Infer,
  NamedTensor,
  Postprocess,
  Preprocess,
  Prepared,
  Range,
  Reply,
  Request,
  Tensor,
} from "./plimsoll.js";

const limits: Range = { minimum: 1 };

export const preprocess: Preprocess = {
  run(request: Request, body: Uint8Array): Prepared {
    config.only("width", "factor", "invert", "names", "input");
    const width: number = config.integer("width", undefined, limits);
    const factor: number = config.number("factor", 0.5, { minimum: 0, maximum: 1 });
    const invert: boolean = config.flag("invert", false);
    const names: string[] = config.list("names", []);
    const input: string = config.text("input", "image");
    const hint: string | undefined = request.contentType;
    for (const [name, value] of request.parameters) {
      if (name.length + value.length > 99) throw new TooLarge(`parameter ${name} is too long`);
    }
    if (hint === "image/svg+xml") throw new UnsupportedMediaType("SVG is not supported");
    if (body.length % width !== 0) throw new InvalidInput(`${body.length} bytes are no rows of ${width} bytes`);
    const pixels = Float32Array.from(body, (value) => (invert ? 255 - value : value) * factor);
    const tensors: NamedTensor[] = [[input, tensor([1, body.length / width, width], pixels)]];
    return { tensors, context: new TextEncoder().encode(`${request.id} ${names.join()}`) };
  },
};

export const infer: Infer = {
  run(_request, inputs) {
    const only: Tensor = find(inputs);
    const numbers: Elements = values(only);
    if (numbers instanceof BigInt64Array) throw new Internal(`a tensor of ${only.ty()}`);
    const doubled = Array.from(numbers, (number) => 2 * number);
    return [["doubled", tensor(shape(only), doubled)]];
  },
};

export const postprocess: Postprocess = {
  run(_request, outputs, context): Reply {
    const labels: string[] = assets.labels("labels.txt");
    const table: Uint8Array = assets.bytes("table.bin");
    const scores = values(find(outputs, "scores"));
    return jsonReply({ labels, bytes: table.length + context.length, best: scores[0]?.toString() });
  },
};
