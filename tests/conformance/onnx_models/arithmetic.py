"""Operators with several inputs that compute each element alone, with broadcasting."""

import numpy as np

from builder import operator


def broadcast_shapes(b, count=2, rank=4, size=4):
    """Shapes that broadcast to one common shape: some dimensions are 1, some leading ones absent."""
    full = b.shape(0, rank, size)
    shapes = []
    for _ in range(count):
        shape = [1 if b.chance(0.25) else n for n in full]
        shapes.append(shape[b.integer(0, len(shape)):] if b.chance(0.4) else shape)
    if not b.chance(0.1):
        shapes[0] = full
    order = b.random.permutation(count)
    return [shapes[i] for i in order]


def operands(b, dtype, make=None, count=2):
    """Input names; sometimes the same tensor twice."""
    make = make or (b.special_values if b.chance(0.15) else b.values)
    shapes = broadcast_shapes(b, count)
    names = [b.tensor(make(shape, dtype)) for shape in shapes]
    if count > 1 and b.chance(0.07):
        names[1] = names[0]
    return names


@operator("Add", "Sub", "Mul", weight=2)
def arithmetic(b, name):
    dtype = b.pick_type(name)
    if dtype.startswith("int") and dtype != "int8" and b.chance(0.4):
        # Products and sums beyond 32 bits (int32: they wrap around).
        large = 2**31 - 5 if name != "Mul" else 100_000
        make = lambda shape, dtype: b.values(shape, dtype, -large, large)  # noqa: E731
    elif dtype in ("uint8", "int8"):
        info = np.iinfo(dtype)
        make = lambda shape, dtype: b.values(shape, dtype, info.min, info.max)  # noqa: E731
    else:
        make = None
    b.single(name, operands(b, dtype, make))


@operator("Div", weight=2)
def divide(b, name):
    dtype = b.pick_type(name)
    left, right = broadcast_shapes(b)
    if np.dtype(dtype).kind == "f":
        x = b.special_values(left, dtype) if b.chance(0.2) else b.values(left, dtype)
        y = b.values(right, dtype, 0.5, 4) * b.pick(1, -1)
        if b.chance(0.15):
            y = b.special_values(right, dtype)
    else:
        signed = np.dtype(dtype).kind == "i"
        x = b.values(left, dtype, -100 if signed else 0, 100)
        y = b.values(right, dtype, 1, 9)
        if signed:
            y = (y * np.where(b.values(right, "bool"), 1, -1)).astype(dtype)
    b.single(name, [b.tensor(x), b.tensor(y.astype(dtype))])


@operator("Mod", weight=2)
def modulo(b, name):
    dtype = b.pick_type(name)
    left, right = broadcast_shapes(b)
    is_float = np.dtype(dtype).kind == "f"
    x = b.values(left, dtype) if is_float else b.values(left, dtype, 0 if dtype == "uint8" else -100, 100)
    y = b.values(right, dtype, 1, 4)
    if dtype != "uint8":
        y = (y * np.where(b.values(right, "bool"), 1, -1)).astype(dtype)
    attributes = {"fmod": 1} if is_float else b.some(0.5, fmod=b.integer(0, 1))
    b.single(name, [b.tensor(x), b.tensor(y)], **attributes)


@operator("Pow", weight=2)
def power(b, name):
    base = b.pick_type(name, 0)
    exponent = b.pick_type(name, 1) if b.opset >= 12 else base
    left, right = broadcast_shapes(b)
    if np.dtype(exponent).kind == "f":
        x = b.values(left, base, 0 if np.dtype(base).kind != "f" else 0.25, 4)
        is_float = np.dtype(base).kind == "f"
        y = b.values(right, exponent, -2 if is_float else 0, 2)  # 0 to a negative power has no integer value
        if b.chance(0.4):
            y = np.asarray(b.pick(2, 3, 0.5, 0, 1, -1 if is_float else 2), exponent)
            x = b.values(left, base) if y == np.round(y) and y >= 0 else x
    else:
        is_float = np.dtype(base).kind == "f"
        x = b.values(left, base, -3, 3)
        y = b.values(right, exponent, -3 if is_float else 0, 3)
        if is_float:
            x = np.where(x == 0, np.asarray(1, base), x)
        elif b.chance(0.2):
            x, y = b.values(left, base, -30, 30), b.values(right, exponent, 0, 6 if base == "int64" else 4)
    b.single(name, [b.tensor(x), b.tensor(y)])


@operator("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", weight=1.2)
def compare(b, name):
    dtype = b.pick_type(name)
    if dtype == "int64" and b.chance(0.4):
        make = lambda shape, dtype: b.values(shape, dtype, 0, 2) * 2**32 + b.values(shape, dtype, 0, 2)  # noqa: E731
    elif dtype == "float64" and b.chance(0.5):
        make = lambda shape, dtype: 1 + b.values(shape, dtype, 0, 1) * 1e-9  # noqa: E731
    elif b.chance(0.6) and np.dtype(dtype).kind != "b":
        make = lambda shape, dtype: b.values(shape, dtype, 0, 2)  # noqa: E731
    else:
        make = None
    b.single(name, operands(b, dtype, make))


@operator("And", "Or", "Xor", weight=0.6)
def logic(b, name):
    b.single(name, operands(b, "bool"))


@operator("BitwiseAnd", "BitwiseOr", "BitwiseXor", weight=0.6)
def bitwise(b, name):
    b.single(name, operands(b, b.pick_type(name)))


@operator("BitShift", weight=0.6)
def bit_shift(b, name):
    left, right = broadcast_shapes(b)
    b.single(name, [b.tensor(b.values(left, "uint8", 0, 255)), b.tensor(b.values(right, "uint8", 0, 7))],
             direction=b.pick("LEFT", "RIGHT"))


@operator("Min", "Max", "Sum", "Mean", weight=1.2)
def variadic(b, name):
    dtype = b.pick_type(name)
    make = b.special_values if b.chance(0.3) and name != "Sum" else None
    b.single(name, operands(b, dtype, make, count=b.integer(1, 4)))


@operator("PRelu", weight=1.5)
def prelu(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(1, 4)
    slopes = [shape, [1], shape[-1:]]
    if len(shape) > 1:
        slopes += [[shape[1]] + [1] * (len(shape) - 2)] * 3
    slope = slopes[b.integer(0, len(slopes) - 1)]
    b.single(name, [b.data(b.values(shape, dtype)), b.tensor(b.values(slope, dtype))])


@operator("Clip", weight=3)
def clip(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(0)
    x = b.special_values(shape, dtype) if b.chance(0.25) else b.values(shape, dtype)
    low, high = (2, 15) if dtype == "uint8" else (-2, 3)
    if b.chance(0.2):
        low, high = high, low
    if b.opset < 11:
        b.single(name, [b.data(x)], **b.some(min=float(low), max=float(high)))
        return
    low, high = [b.parameter(v, dtype) for v in (low, high)]
    kinds = [[], [low], [low, high], [low, high], ["", high], ["", ""], [low, ""]]
    inputs = kinds[b.integer(0, len(kinds) - 1)]
    drop_unused_inputs(b, inputs)
    b.single(name, [b.data(x), *inputs])


def drop_unused_inputs(b, used):
    """Forgets graph inputs that were made but are not in `used`."""
    for name in [n for n in b.inputs if n not in used]:
        del b.inputs[name]


@operator("Where", weight=1.5)
def where(b, name):
    dtype = b.pick_type(name, 1)
    condition, left, right = broadcast_shapes(b, 3)
    make = b.special_values if b.chance(0.3) else b.values
    b.single(name, [b.data(b.values(condition, "bool")), b.tensor(make(left, dtype)), b.tensor(make(right, dtype))])
