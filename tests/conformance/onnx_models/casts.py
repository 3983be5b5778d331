"""Type conversions, and operators that make tensors: Cast, CastLike, Constant, ConstantOfShape, EyeLike, Range."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from builder import WEIGHTS, operator

TYPES = {dtype: helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for dtype in WEIGHTS}


def castable_values(b, source, target):
    """Values whose conversion is defined by ONNX: floats stay in the range of an integer target."""
    shape = b.shape(0, 3)
    kind, target = np.dtype(source).kind, np.dtype(target)
    if kind == "f":
        if target.kind in "fb":
            values = b.special_values(shape, source)
            if target.kind == "b" and b.chance(0.5):
                values = np.asarray(b.pick(0.25, -0.25, 0.75) * b.values(shape, "bool"), source)
            return values
        values = b.values(shape, source, 0 if target.kind == "u" else -8, 8)
        if target == np.int64 and source != "float16" and b.chance(0.4):
            values = values * np.asarray(2.0**30, source)
        return values
    if source == "int64" and b.chance(0.4):
        return b.values(shape, source, -2**40, 2**40)
    return b.special_values(shape, source) if b.chance(0.5) else b.values(shape, source)


@operator("Cast", weight=6)
def cast(b, name):
    source = b.pick_type(name)
    target = list(TYPES)[b.integer(0, len(TYPES) - 1)]
    attributes = b.some(0.2, saturate=b.integer(0, 1)) if b.opset >= 19 else {}
    b.single(name, [b.data(castable_values(b, source, target))], to=TYPES[target], **attributes)


@operator("CastLike", weight=2)
def cast_like(b, name):
    source = b.pick_type(name)
    target = list(TYPES)[b.integer(0, len(TYPES) - 1)]
    b.single(name, [b.data(castable_values(b, source, target)), b.tensor(b.values([2], target))])


@operator("BitCast", weight=0.7)
def bit_cast(b, name):
    source, target = b.pick(("float32", "int32"), ("int32", "float32"), ("float64", "int64"), ("int64", "float64"),
                            ("int8", "uint8"), ("uint8", "int8"))
    b.single(name, [b.data(b.values(b.shape(0, 3), source))], to=TYPES[target])


@operator("Constant", weight=2)
def constant(b, name):
    kinds = ["value"]
    if b.opset >= 12:
        kinds += ["value_float", "value_floats", "value_int", "value_ints", "value", "value_int"]
    kind = kinds[b.integer(0, len(kinds) - 1)]
    large = b.chance(0.2)
    if kind == "value":
        dtype = list(TYPES)[b.integer(0, len(TYPES) - 1)]
        value = numpy_helper.from_array(b.special_values(b.shape(0, 3), dtype))
    elif "int" in kind:
        value = b.integers(-2**40, 2**40, 3) if large else b.integers(-5, 5, 3)
    else:
        value = [float(v) for v in b.values([3])]
    if kind in ("value_int", "value_float"):
        value = value[0]
    b.single(name, [], **{kind: value})


@operator("ConstantOfShape", weight=1.5)
def constant_of_shape(b, name):
    dtype = list(TYPES)[b.integer(0, len(TYPES) - 1)]
    shape = b.pick([], [0, 2], b.shape(1, 3), b.shape(1, 3))
    value = b.special_values([1], dtype) if b.chance(0.3) else b.values([1], dtype)
    b.single(name, [b.parameter(shape)], **b.some(value=numpy_helper.from_array(value)))


@operator("EyeLike", weight=1)
def eye_like(b, name):
    dtype = b.pick_type(name)
    target = b.pick("float32", "int32", "int64", "float64", "uint8", "int8", "bool")
    b.single(name, [b.data(b.values(b.shape(2, 2, 5), dtype))], **b.some(dtype=TYPES[target], k=b.integer(-4, 4)))


@operator("Range", weight=1.5)
def number_range(b, name):
    dtype = b.pick_type(name)
    start, step = b.integer(-5, 5), b.pick(1, 2, 3, -1, -2)
    if dtype.startswith("float"):
        step = step * b.pick(0.5, 1.0, 0.75)
    limit = start + step * b.integer(-1, 7) + b.pick(0, 1)
    offset = b.pick(0, 0, 2**33) if dtype == "int64" else 0
    b.single(name, [b.parameter(v, dtype) for v in (start + offset, limit + offset, step)])


@operator("BlackmanWindow", "HannWindow", "HammingWindow", weight=0.4)
def window(b, name):
    size = b.parameter(b.integer(1, 12), b.pick("int64", "int32"))
    b.single(name, [size], **b.some(0.5, periodic=b.integer(0, 1), output_datatype=TensorProto.FLOAT))
