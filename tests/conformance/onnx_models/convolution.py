"""Convolutions of one to three dimensions: Conv, ConvTranspose, ConvInteger, QLinearConv, DeformConv, Col2Im."""

import numpy as np

from builder import operator


def window_attributes(b, rank, kernel):
    """Random strides, dilations and padding, each of them sometimes absent."""
    attributes = b.some(0.5, strides=b.integers(1, 3, rank), dilations=b.integers(1, 2, rank))
    padding = b.pick("none", "pads", "pads", "symmetric", "auto")
    if padding == "pads":
        attributes["pads"] = b.integers(0, 2, 2 * rank)
    elif padding == "symmetric":
        attributes["pads"] = b.integers(0, 2, rank) * 2
    elif padding == "auto":
        attributes["auto_pad"] = b.pick("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
    attributes.update(b.some(0.6, kernel_shape=list(kernel)))
    return attributes


def convolution_shapes(b):
    """Input shape, kernel and numbers of channels. Depthwise and grouped convolutions are frequent."""
    rank = b.pick(1, 2, 2, 2, 3)
    kernel = b.integers(1, 3, rank)
    group = b.pick(1, 1, 2, 3)
    channels = group * (1 if group > 1 and b.chance(0.5) else b.integer(1, 3))
    filters = group * b.integer(1, 3)
    space = b.integers(5, 8 if rank < 3 else 6, rank)
    return rank, kernel, group, [b.integer(1, 2), channels, *space], filters


@operator("Conv", weight=10)
def conv(b, name):
    dtype = b.pick_type(name)
    rank, kernel, group, shape, filters = convolution_shapes(b)
    attributes = window_attributes(b, rank, kernel)
    if group > 1 or b.chance(0.3):
        attributes["group"] = group
    weights = b.values([filters, shape[1] // group, *kernel], dtype)
    inputs = [b.data(b.values(shape, dtype)), b.tensor(weights)]
    if b.chance(0.5):
        inputs.append(b.tensor(b.values([filters], dtype)))
    elif b.chance(0.2):
        inputs.append("")
    b.single(name, inputs, **attributes)


@operator("ConvTranspose", weight=8)
def conv_transpose(b, name):
    rank, kernel, group, shape, filters = convolution_shapes(b)
    shape[2:] = b.integers(2, 4, rank)
    attributes = window_attributes(b, rank, kernel)
    if group > 1 or b.chance(0.3):
        attributes["group"] = group
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    if b.chance(0.3):
        attributes["output_padding"] = [b.integer(0, max(s, d) - 1) for s, d in zip(strides, dilations)]
    elif b.chance(0.25):
        attributes.pop("pads", None)
        attributes["output_shape"] = [n * s + b.integer(-1, 1) for n, s in zip(shape[2:], strides)]
    weights = b.values([shape[1], filters // group, *kernel])
    inputs = [b.data(b.values(shape)), b.tensor(weights)]
    if b.chance(0.5):
        inputs.append(b.tensor(b.values([filters])))
    b.single(name, inputs, **attributes)


@operator("ConvInteger", weight=2.5)
def conv_integer(b, name):
    rank, kernel, group, shape, filters = convolution_shapes(b)
    attributes = window_attributes(b, rank, kernel)
    if group > 1 or b.chance(0.3):
        attributes["group"] = group
    x_type, w_type = b.pick("uint8", "uint8", "int8"), b.pick("uint8", "int8")
    inputs = [b.data(b.values(shape, x_type)), b.tensor(b.values([filters, shape[1] // group, *kernel], w_type))]
    if b.chance(0.6):
        inputs.append(b.parameter(b.integer(0, 9), x_type))
        if b.chance(0.6):
            per_channel = b.chance(0.3)
            inputs.append(b.parameter(b.integers(0, 9, filters) if per_channel else b.integer(0, 9), w_type))
    b.single(name, inputs, **attributes)


@operator("QLinearConv", weight=1.5)
def quantized_conv(b, name):
    rank, kernel, group, shape, filters = convolution_shapes(b)
    attributes = window_attributes(b, rank, kernel)
    attributes["group"] = group
    x_type, w_type = b.pick("uint8", "int8"), "int8"
    weight_scale = b.pick([0.125] * filters, [0.0625] * filters) if b.chance(0.4) else 0.0625
    inputs = [
        b.data(b.values(shape, x_type)), b.parameter(0.125, "float32"), b.parameter(b.integer(0, 9), x_type),
        b.parameter(b.values([filters, shape[1] // group, *kernel], w_type), w_type),
        b.parameter(weight_scale, "float32"), b.parameter(np.zeros(np.shape(weight_scale)), w_type),
        b.parameter(0.7, "float32"), b.parameter(b.integer(0, 9), x_type)]
    if b.chance(0.4):
        inputs.append(b.parameter(b.integers(-50, 50, filters), "int32"))
    b.single(name, inputs, **attributes)


@operator("DeformConv", weight=0.7)
def deformable_conv(b, name):
    batch, channels, filters, kernel, size = 1, b.integer(1, 2), b.integer(1, 2), 2, b.integer(3, 4)
    out = size - kernel + 1
    inputs = [b.data(b.values([batch, channels, size, size])), b.tensor(b.values([filters, channels, kernel, kernel])),
              b.tensor(b.values([batch, 2 * kernel * kernel, out, out], low=-1, high=1))]
    if b.chance(0.4):
        inputs.append(b.tensor(b.values([filters])))
    b.single(name, inputs, kernel_shape=[kernel, kernel], pads=[0, 0, 0, 0])


@operator("Col2Im", weight=0.7)
def column_to_image(b, name):
    image, block = b.integers(3, 5, 2), b.integers(1, 2, 2)
    strides, pads = b.integers(1, 2, 2), b.integers(0, 1, 4)
    columns = 1
    for i in range(2):
        columns *= (image[i] + pads[i] + pads[i + 2] - block[i]) // strides[i] + 1
    x = b.values([b.integer(1, 2), b.integer(1, 2) * block[0] * block[1], columns])
    b.single(name, [b.data(x), b.parameter(image), b.parameter(block)], strides=strides, pads=pads)
