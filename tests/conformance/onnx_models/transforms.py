"""Fourier transforms and filter banks, losses, and Dropout."""

import numpy as np

from builder import operator


@operator("DFT", weight=2.5)
def dft(b, name):
    length, is_complex = b.integer(2, 6), b.chance(0.4)
    shape = [b.integer(1, 2), length, b.integer(1, 3)] if b.chance(0.4) else [b.integer(1, 2), length]
    attributes = b.some(0.4, inverse=b.integer(0, 1))
    if not is_complex and not attributes.get("inverse"):
        attributes.update(b.some(0.4, onesided=b.integer(0, 1)))
    inputs = [b.data(b.values([*shape, 2 if is_complex else 1]))]
    if b.chance(0.3):
        inputs.append(b.parameter(b.integer(2, 7)))
    axis = b.pick(1, 1, -len(shape), 0) if b.chance(0.5) else None
    if axis is not None:
        if b.opset >= 20:
            inputs += [""] * (2 - len(inputs)) + [b.parameter(axis)]
        else:
            attributes["axis"] = axis
    b.single(name, inputs, **attributes)


@operator("STFT", weight=1.5)
def stft(b, name):
    frame, step, length = b.pick(4, 8), b.integer(1, 4), b.integer(10, 16)
    inputs = [b.data(b.values([b.integer(1, 2), length, 1])), b.parameter(step)]
    window = b.values([frame], low=0.25, high=1)
    if b.chance(0.6):
        inputs.append(b.tensor(window))
        if b.chance(0.5):
            inputs.append(b.parameter(frame))
    else:
        inputs += ["", b.parameter(frame)]
    b.single(name, inputs, **b.some(onesided=b.integer(0, 1)))


@operator("MelWeightMatrix", weight=0.4)
def mel_weight_matrix(b, name):
    inputs = [b.parameter(b.pick(4, 8)), b.parameter(16), b.parameter(8000), b.parameter(0.0, "float32"),
              b.parameter(4000.0, "float32")]
    b.single(name, inputs)


@operator("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", weight=0.8)
def loss(b, name):
    batch, classes = b.integer(1, 4), b.integer(2, 4)
    rest = b.shape(0, 2, 3)
    inputs = [b.data(b.values([batch, classes, *rest])), b.tensor(b.random.integers(0, classes, [batch, *rest]))]
    if b.chance(0.4):
        inputs.append(b.tensor(b.values([classes], low=0.5, high=2)))
    attributes = b.some(0.6, reduction=b.pick("mean", "sum", "none"))
    attributes.update(b.some(0.2, ignore_index=0))
    b.single(name, inputs, **attributes)


@operator("Dropout", weight=1.5)
def dropout(b, name):
    x = b.data(b.values(b.shape(1, 3)))
    if b.opset < 12:  # without the mask, whose value at inference is not defined
        b.single(name, [x], **b.some(ratio=0.75))
        return
    outputs = b.pick(1, 1, 2)
    inputs = [x]
    if b.chance(0.6):
        inputs.append(b.parameter(0.75, "float32"))
        if b.chance(0.5):
            inputs.append(b.parameter(False, "bool"))
    elif b.chance(0.3):
        inputs += ["", b.parameter(False, "bool")]
    b.single(name, inputs, outputs, **b.some(0.3, seed=3))
