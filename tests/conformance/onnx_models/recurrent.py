"""LSTM, GRU and RNN with their optional inputs and attributes."""

import numpy as np

from builder import operator

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
OTHER_ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "HardSigmoid", "Softsign", "Elu", "LeakyRelu", "Softplus")


@operator("LSTM", "GRU", "RNN", weight=6)
def recurrent(b, name):
    length, batch, width, hidden = b.integer(1, 4), b.integer(1, 3), b.integer(1, 4), b.integer(1, 4)
    direction = b.pick("forward", "reverse", "bidirectional")
    attributes = {"hidden_size": hidden}
    if direction != "forward" or b.chance(0.5):
        attributes["direction"] = direction
    directions = 2 if direction == "bidirectional" else 1
    gates = GATES[name]
    if b.opset >= 14:
        attributes.update(b.some(0.25, layout=0 if b.chance(0.9) else 1))  # onnxruntime refuses layout 1
    is_batch_first = attributes.get("layout") == 1
    if b.chance(0.25):
        kinds = [OTHER_ACTIVATIONS[b.integer(0, len(OTHER_ACTIVATIONS) - 1)] if b.chance(0.5) else kind
                 for kind in ACTIVATIONS[name]]
        attributes["activations"] = kinds * directions
    if b.chance(0.15):
        attributes["clip"] = b.pick(0.5, 2.0)
    if name == "GRU":
        attributes.update(b.some(0.6, linear_before_reset=b.integer(0, 1)))
    if name == "LSTM":
        attributes.update(b.some(0.15, input_forget=b.integer(0, 1)))

    def weights(*shape):
        return b.random.integers(-16, 17, shape).astype("float32") / 16

    state = [batch, directions, hidden] if is_batch_first else [directions, batch, hidden]
    x = weights(*([batch, length, width] if is_batch_first else [length, batch, width]))
    make = b.constant if b.chance(0.7) else b.input
    inputs = [b.data(x), make(weights(directions, gates * hidden, width)),
              make(weights(directions, gates * hidden, hidden))]
    optional = [make(weights(directions, 2 * gates * hidden)) if b.chance(0.6) else "",
                b.parameter(b.integers(1, length, batch), "int32") if b.chance(0.3) else "",
                b.tensor(weights(*state)) if b.chance(0.4) else ""]
    if name == "LSTM":
        optional += [b.tensor(weights(*state)) if b.chance(0.4) else "",
                     make(weights(directions, 3 * hidden)) if b.chance(0.15) else ""]
    while optional and not optional[-1]:
        optional.pop()
    count = 3 if name == "LSTM" else 2
    outputs = b.node(name, inputs + optional, b.pick([True] * count, [True] * count, [True] + [False] * (count - 1),
                                                     [False] + [True] * (count - 1)), **attributes)
    b.output(*(outputs if isinstance(outputs, list) else [outputs]))
