"""Graphs that resemble what engines join or assume, and are something else: normalisations without kept dimensions or with
odd scales, offsets that enlarge a product, dimensions of one name with several sizes, and division before rounding."""

import numpy as np

from builder import graph
from networks import reduce
from transformer_graphs import scalar, swap


@graph("lookalike_norm", weight=3)
def norm(b):
    width = b.integer(2, 4)
    rows = width if b.chance(0.7) else b.integer(1, 4)
    x = b.input(b.values([rows, width]))
    keepdims = b.pick(0, 1)
    axis = b.pick(-1, 1, 0) if b.opset >= 11 else b.pick(0, 1)
    mean = reduce(b, "ReduceMean", x, [axis], keepdims=keepdims)
    centred = b.node("Sub", [x, mean]) if b.chance(0.7) else x
    variance = reduce(b, "ReduceMean", b.node("Pow", [centred, scalar(b, 2)]), [axis], keepdims=keepdims)
    deviation = b.node("Sqrt", [b.node("Add", swap(b, variance, scalar(b, 0.5)))])
    if b.chance(0.6):
        result = b.node("Div", [centred, deviation])
    else:
        result = b.node("Mul", swap(b, centred, b.node("Reciprocal", [deviation])))
    shapes = [[width], [rows, 1], [rows, width], [2, rows, 1], [2, 1, width], [1], []]
    result = b.node("Mul", swap(b, result, b.constant(b.values(b.pick(*shapes), low=0.5, high=2))))
    if b.chance(0.6):
        result = b.node("Add", swap(b, result, b.constant(b.values(b.pick(*shapes)))))
    b.output(result)


@graph("lookalike_product", weight=2)
def product(b):
    rows, inner, columns = b.integer(1, 3), b.integer(1, 4), b.pick(1, 1, 3)
    left, right = b.data(b.values([rows, inner])), b.tensor(b.values([inner, columns]))
    if b.chance(0.3):
        left, right = (b.node("Mul", swap(b, side, scalar(b, b.pick(2, 0.5)))) for side in (left, right))
    result = b.node("MatMul", [left, right])
    shape = b.pick([columns], [1], [5] if columns == 1 else [columns], [rows, 1], [2, 1, columns])
    b.output(b.node("Add", swap(b, result, b.constant(b.values(shape)))))


@graph("one_name", weight=3)
def one_name(b):
    b.has_one_name = True
    rank, size = b.integer(1, 2), b.integer(2, 5)
    first = b.input(b.values([b.pick(1, size) for _ in range(rank)]))
    second = b.input(b.values([b.pick(1, size) for _ in range(rank)]))
    result = b.node(b.pick("Add", "Mul", "Sub"), [first, second])
    sizes = b.node("Shape", [b.pick(result, second)])
    if b.chance(0.5) and b.opset >= 8:
        b.output(b.node("Expand", [scalar(b, 2), sizes]))
    b.output(b.node("Cast", [sizes], to=1), result)


@graph("exact_division", weight=3, since=9)
def exact_division(b):
    divisor = np.float32(b.pick(1.1, 3, 7, 49, 0.1))
    x = b.input((np.arange(1, 41, dtype="float32") * divisor).reshape(1, 1, 40))
    ratio = b.node("Div", [x, scalar(b, float(divisor))])
    kind = b.pick("Tile", "Pad", "Split", "MaxPool", "Transpose", "Sqrt", "If", "Relu")
    if kind == "Tile":
        ratio = b.node("Tile", [ratio, b.constant(np.array([1, 1, 2], "int64"))])
    elif kind == "Pad" and b.opset >= 11:
        ratio = b.node("Pad", [ratio, b.constant(np.array([0, 0, 1, 0, 0, 0], "int64"))])
    elif kind == "Split" and b.opset < 13:
        ratio = b.node("Split", [ratio], 2, axis=2, split=[20, 20])[0]
    elif kind == "MaxPool":
        ratio = b.node("MaxPool", [ratio], kernel_shape=[1])
    elif kind == "If":
        then, other = b.body(), b.body()
        then.output(then.node("Identity", [ratio]))
        other.output(other.node("Neg", [ratio]))
        condition = b.constant(np.array(True))
        ratio = b.node("If", [condition], then_branch=then.body_graph("float32"), else_branch=other.body_graph("float32"))
    elif kind in ("Transpose", "Sqrt", "Relu"):
        ratio = b.node(kind, [ratio])
    b.output(b.node(b.pick("Floor", "Ceil"), [ratio]) if b.chance(0.7) else b.node("Cast", [ratio], to=6))
