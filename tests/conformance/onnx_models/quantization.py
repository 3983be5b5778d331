"""Quantised numbers: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, MatMulInteger, QLinearMatMul."""

import numpy as np

from builder import operator


def granularity(b):
    """(shape of the values, shape of the scales, attributes): per tensor, per axis or in blocks."""
    shape = [b.integer(2, 4)] * b.integer(3, 4) if b.chance(0.3) else b.shape(1, 4)
    kinds = ["tensor", "tensor1"] + (["axis", "axis"] if b.opset >= 13 else []) + (["block"] if b.opset >= 21 else [])
    kind = kinds[b.integer(0, len(kinds) - 1)]
    if kind == "tensor":
        return shape, [], b.some(0.3, axis=0) if b.opset >= 13 else {}
    if kind == "tensor1":
        return shape, [1], {}
    axis = b.axis(len(shape))
    if len(shape) > 1 and b.chance(0.4):
        attributes, axis = {}, 1  # the default of axis is 1
    else:
        attributes = {"axis": axis}
    if kind == "axis":
        return shape, [shape[axis]], attributes
    block = b.integer(2, 3)
    scale_shape = list(shape)
    shape[axis] = block * scale_shape[axis]
    return shape, scale_shape, {**attributes, "block_size": block}


def spread_scales(scale, shape, attributes):
    """The scale of each value."""
    scale = np.asarray(scale)
    if scale.ndim == 0 or scale.size == 1:
        return scale
    axis = attributes.get("axis", 1)
    if "block_size" in attributes:
        return np.repeat(scale, attributes["block_size"], axis)
    return scale.reshape([n if i == axis % len(shape) else 1 for i, n in enumerate(shape)])


@operator("QuantizeLinear", weight=6)
def quantize_linear(b, name):
    target = b.pick("uint8", "int8")
    shape, scale_shape, attributes = granularity(b)
    dtype = b.pick_type(name, allowed=("float32", "float16"))
    if b.chance(0.4):
        # Powers of two: many quotients are ties, which round to even.
        scale = 2.0 ** b.random.integers(-3, 1, scale_shape)
        x = b.values(shape, dtype)
    else:
        scale = b.random.integers(3, 9, scale_shape) / 100 + 0.003
        x = b.values(shape, dtype)
        spread = spread_scales(scale, shape, attributes)
        x = np.where(np.abs(x / spread % 1 - 0.5) < 0.02, 0, x).astype(dtype)
    if b.chance(0.2):
        x = (x * 100).astype(dtype)  # beyond the range: saturates
    inputs = [b.data(x), b.tensor(np.asarray(scale, dtype))]
    if target == "int8" or b.chance(0.6):
        info = np.iinfo(target)
        inputs.append(b.tensor(b.values(scale_shape, target, info.min // 2, info.max // 2)))
    elif b.opset >= 21 and b.chance(0.3):
        attributes["output_dtype"] = b.pick(2, 3)
    b.single(name, inputs, **attributes)


@operator("DequantizeLinear", weight=6)
def dequantize_linear(b, name):
    dtype = b.pick("uint8", "int8", "uint8", "int8", "int32")
    shape, scale_shape, attributes = granularity(b)
    low, high = (-500, 500) if dtype == "int32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    scale = b.random.integers(1, 9, scale_shape) / 16
    inputs = [b.data(b.values(shape, dtype, low, high)), b.tensor(np.asarray(scale, "float32"))]
    if dtype != "int32" and b.chance(0.6):
        inputs.append(b.tensor(b.values(scale_shape, dtype, low // 2, high // 2)))
    b.single(name, inputs, **attributes)


@operator("DynamicQuantizeLinear", weight=2)
def dynamic_quantize_linear(b, name):
    shape = b.shape(1, 3, 6)
    kind = b.integer(0, 3)
    if kind == 0:  # a range of 255 gives the scale 1, so that halves are ties
        x = b.random.integers(-20, 235, shape) + b.random.integers(0, 2, shape) / 2
        x.flat[0], x.flat[-1] = -20, 235
    elif kind == 1:
        x = b.values(shape, low=1, high=4)  # no negative value: the range begins at 0
    elif kind == 2:
        x = b.values(shape, low=-4, high=-1)
    else:
        x = b.random.normal(size=shape)
    outputs = b.node(name, [b.data(np.asarray(x, "float32"))], 3)
    b.output(*outputs)


@operator("MatMulInteger", weight=3)
def matmul_integer(b, name):
    m, k, n = b.integer(1, 4), b.integer(1, 6), b.integer(1, 4)
    batch = b.shape(0, 2, 2)
    left_type, right_type = b.pick("uint8", "uint8", "int8"), b.pick("uint8", "int8")
    left, right = [*batch, m, k], [k, n] if b.chance(0.5) else [*batch, k, n]
    # The full range of 8 bits shows saturation. onnxruntime itself saturates for uint8 x int8 without VNNI.
    full = b.chance(0.4) and left_type == right_type == "uint8"
    values = [b.values(s, t, *((0, 255) if full else (None, None)))
              for s, t in ((left, left_type), (right, right_type))]
    inputs = [b.data(values[0]), b.tensor(values[1])]
    if b.chance(0.7):
        zero = b.values([m] if b.chance(0.15) and not batch else b.pick([], [1]), left_type, 0, 9)
        inputs.append(b.tensor(zero))
        if b.chance(0.7):
            inputs.append(b.tensor(b.values([n] if b.chance(0.3) else b.pick([], [1]), right_type, 0, 9)))
    b.single(name, inputs)


@operator("QLinearMatMul", weight=1.5)
def quantized_matmul(b, name):
    m, k, n = b.integer(1, 4), b.integer(1, 6), b.integer(1, 4)
    kind = b.pick("uint8", "int8")
    inputs = []
    for shape, scale in (([m, k], 0.125), ([k, n], 0.0625)):
        inputs += [b.tensor(b.values(shape, kind)), b.parameter(scale, "float32"), b.parameter(b.integer(0, 5), kind)]
    b.single(name, [*inputs, b.parameter(0.037, "float32"), b.parameter(b.integer(0, 9), kind)])
