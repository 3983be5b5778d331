"""What exporters write rarely: values without elements, resizes at many sizes, ranges of fractions, and quotients that are
rounded later."""

import numpy as np

from builder import graph


def empty_shape(b, low=1, high=3):
    """A shape in which one dimension is often 0."""
    shape = b.shape(low, high, 3)
    if b.chance(0.6):
        shape[b.integer(0, len(shape) - 1)] = 0
    return shape


@graph("graph_empty", weight=6, since=13)
def empty(b):
    """Operators on values that may have no elements."""
    shape = empty_shape(b)
    x = b.input(b.values(shape))
    kind = b.pick("ReduceSum", "ReduceMax", "Concat", "MatMul", "Gemm", "Softmax", "CumSum", "Expand", "Transpose",
                  "NonZero", "Tile", "Gather")
    axis = b.axis(len(shape))
    if kind in ("ReduceSum", "ReduceMax"):
        if kind == "ReduceSum":
            b.single(kind, [x, b.parameter([axis])], keepdims=b.integer(0, 1))
        elif shape[axis]:
            b.single(kind, [x, b.parameter([axis])] if b.opset >= 18 else [x], keepdims=b.integer(0, 1),
                     **({} if b.opset >= 18 else {"axes": [axis]}))
        else:
            b.single("Abs", [x])
    elif kind == "Concat":
        other = list(shape)
        other[axis] = b.integer(0, 2)
        b.single(kind, [x, b.tensor(b.values(other))], axis=axis)
    elif kind == "MatMul":
        inner = b.pick(0, 2)
        left = b.pick([inner], [b.integer(0, 2), inner], [2, b.integer(0, 2), inner])
        right = b.pick([inner], [inner, b.integer(0, 2)], [b.integer(0, 2), inner, 3])
        b.inputs.clear()
        b.single(kind, [b.input(b.values(left)), b.tensor(b.values(right))])
    elif kind == "Gemm":
        b.inputs.clear()
        inner = b.pick(0, 2)
        b.single(kind, [b.input(b.values([2, inner])), b.tensor(b.values([inner, 3])), b.tensor(b.values([3]))])
    elif kind == "CumSum":
        b.single(kind, [x, b.constant(np.array(axis))], exclusive=b.integer(0, 1), reverse=b.integer(0, 1))
    elif kind == "Expand":
        b.single(kind, [x, b.parameter([1] * (len(shape) - 1) + [shape[-1]])])
    elif kind == "Tile":
        b.single(kind, [x, b.parameter(b.integers(0, 2, len(shape)))])
    elif kind == "Gather":
        b.inputs.clear()
        x = b.input(b.values([3, *shape]))
        b.single(kind, [x, b.constant(np.zeros(b.pick([0], [2], [0, 2]), "int64"))], axis=0)
    else:
        b.single(kind, [x], **({"axis": axis} if kind == "Softmax" else {}))


@graph("graph_nearest", weight=10, since=11)
def nearest(b):
    """`Resize` to the nearest element at all kinds of sizes: the coordinates are often ties or whole numbers."""
    size, length = b.integers(1, 40, 2), b.integers(1, 80, 2)
    x = b.input(b.values([1, 1, *size]))
    attributes = {"mode": "nearest", "nearest_mode": b.pick("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
                  "coordinate_transformation_mode": b.pick("half_pixel", "pytorch_half_pixel", "asymmetric",
                                                           "align_corners")}
    none = "" if b.opset >= 13 else b.constant(np.zeros([0], "float32"))
    if b.chance(0.5):
        b.single("Resize", [x, none, none, b.parameter([1, 1, *length])], **attributes)
    else:
        scales = [1.0, 1.0, *[b.pick(0.3, 0.5, 0.6, 0.75, 1 / 3, 1.1, 1.25, 4 / 3, 1.5, 1.7, 2.0, 2.5, 3.0, 7.0) for _ in size]]
        b.single("Resize", [x, none, b.parameter(scales, "float32")], **attributes)


@graph("graph_ranges", weight=3, since=11)
def ranges(b):
    """`Range` of fractions, and near the largest integers."""
    if b.chance(0.6):
        start, step = b.pick(0.0, 0.1, -1.0, 2.0), b.pick(0.1, 0.3, 0.25, -0.1, 1.0, 0.7, 1 / 3)
        numbers = np.array([start, start + step * b.integer(0, 30) + b.pick(0, 0, step / 2, 1e-6), step], "float32")
    else:
        dtype = b.pick("int32", "int64")
        numbers = np.array([2**31 - b.integer(1, 40), 2**31 - 1, b.integer(2, 30)], dtype)
    b.single("Range", [b.tensor(number) for number in numbers])


@graph("graph_quotients", weight=6, since=11)
def quotients(b):
    """Quotients that are whole in exact arithmetic are rounded: at once, after other operators, or in a loop."""
    divisor = np.float32(b.pick(0.1, 0.7, 1.1, 1.3, 3.3))
    shapes = [[], [1], [1, 1], [3], [2, 3]]
    x_shape, z_shape = shapes[b.integer(0, 4)], shapes[b.integer(0, 2)]
    x = np.full(x_shape, np.float32(b.integer(1, 200)) * divisor, "float32")
    ratio = b.node("Div", [b.input(x), b.tensor(np.full(z_shape, divisor))])
    kind = b.pick("Floor", "Ceil", "Cast", "Mod", "Transpose")
    if kind == "Cast":
        b.single(kind, [ratio], to=7)
    elif kind == "Mod":
        b.single(kind, [ratio, b.constant(np.float32(1))], fmod=1)
    elif kind == "Transpose":
        b.single("Floor", [b.node(kind, [ratio])])
    else:
        b.single(kind, [ratio])


@graph("graph_remainders", weight=2, since=10)
def remainders(b):
    """Remainders and quotients of extreme integers. onnxruntime cannot divide the least one by -1."""
    dtype = b.pick("int32", "int64")
    x = np.array([-2**31, 2**31 - 1, 7, -7], dtype)
    z = np.array([b.pick(-1, 1, 3), -1, -2, b.pick(2, -3)], dtype)
    b.single("Mod", [b.input(x), b.tensor(z)], **b.some(fmod=b.integer(0, 1)))
