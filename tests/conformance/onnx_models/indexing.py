"""Operators that select or write elements by position: Gather, Scatter, OneHot, Compress and others."""

import numpy as np

from builder import operator


def indices_type(b):
    return b.pick("int64", "int64", "int32")


def indices(b, size, shape, allow_negative=True):
    low = -size if allow_negative and b.chance(0.5) else 0
    return np.asarray(b.random.integers(low, size, shape), indices_type(b))


def data_values(b, name, shape, position=0):
    dtype = b.pick_type(name, position)
    if dtype == "int64" and b.chance(0.2):
        return b.values(shape, dtype, -2**40, 2**40)
    return b.values(shape, dtype)


@operator("Gather", weight=3)
def gather(b, name):
    shape = b.shape(1, 4)
    axis = b.axis(len(shape)) if b.opset >= 11 else b.integer(0, len(shape) - 1)
    attributes = b.some(axis=axis)
    size = shape[attributes.get("axis", 0)]
    which = indices(b, size, b.shape(0, 3, 3), b.opset >= 11)
    b.single(name, [b.data(data_values(b, name, shape)), b.tensor(which)], **attributes)


@operator("GatherElements", weight=2)
def gather_elements(b, name):
    shape = b.shape(1, 4)
    axis = b.axis(len(shape))
    attributes = b.some(axis=axis)
    axis = attributes.get("axis", 0) % len(shape)
    which_shape = [b.integer(1, 5) if i == axis else b.integer(1, n) for i, n in enumerate(shape)]
    which = indices(b, shape[axis], which_shape)
    b.single(name, [b.data(data_values(b, name, shape)), b.tensor(which)], **attributes)


def nd_indices(b, shape, depth, outer):
    parts = [b.random.integers(-n if b.chance(0.3) else 0, n, outer) for n in shape[:depth]]
    return np.stack(parts, -1).astype("int64") if depth else np.zeros([*outer, 0], "int64")


@operator("GatherND", weight=2)
def gather_nd(b, name):
    shape = b.integers(1, 4, b.integer(1, 4))
    batch_dims = b.integer(0, min(2, len(shape) - 1)) if b.opset >= 12 and b.chance(0.4) else 0
    depth = b.integer(1, len(shape) - batch_dims)
    outer = shape[:batch_dims] + b.shape(0, 2, 3)
    if len(outer) == 0:
        outer = []
    which = nd_indices(b, shape[batch_dims:], depth, outer)
    attributes = {"batch_dims": batch_dims} if batch_dims or (b.opset >= 12 and b.chance(0.2)) else {}
    b.single(name, [b.data(data_values(b, name, shape)), b.tensor(which)], **attributes)


@operator("ScatterElements", weight=3)
def scatter_elements(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(1, 3)
    attributes = b.some(axis=b.axis(len(shape)))
    axis = attributes.get("axis", 0) % len(shape)
    reductions = ["none"] + (["add", "mul"] if b.opset >= 16 else []) + (["max", "min"] if b.opset >= 18 else [])
    if b.opset >= 16:
        attributes.update(b.some(0.7, reduction=reductions[b.integer(0, len(reductions) - 1)]))
    which_shape = [b.integer(1, n) for n in shape]
    if attributes.get("reduction", "none") == "none":
        which = distinct_along(b, shape[axis], which_shape, axis)  # duplicates have no defined order
    else:
        which_shape[axis] = b.integer(1, 5)
        which = indices(b, shape[axis], which_shape)
    inputs = [b.data(b.values(shape, dtype)), b.tensor(which), b.tensor(b.values(which_shape, dtype))]
    b.single(name, inputs, **attributes)


def distinct_along(b, size, shape, axis):
    """Indices that are distinct along `axis`, some of them negative."""
    moved = [n for i, n in enumerate(shape) if i != axis]
    rows = [b.random.permutation(size)[:shape[axis]] for _ in range(int(np.prod(moved)))]
    which = np.moveaxis(np.array(rows).reshape([*moved, shape[axis]]), -1, axis)
    return np.where(b.random.random(which.shape) < 0.3, which - size, which).astype(indices_type(b))


@operator("Scatter", weight=0.7, since=9, until=10)
def scatter(b, name):
    shape = b.shape(1, 3)
    attributes = b.some(axis=b.integer(0, len(shape) - 1))
    axis = attributes.get("axis", 0)
    which_shape = [b.integer(1, n) for n in shape]
    which = distinct_along(b, shape[axis], which_shape, axis) % shape[axis]
    b.single(name, [b.data(b.values(shape)), b.tensor(which), b.tensor(b.values(which_shape))], **attributes)


@operator("ScatterND", weight=2.5)
def scatter_nd(b, name):
    dtype = b.pick_type(name)
    shape = b.integers(1, 4, b.integer(1, 3))
    depth = b.integer(1, len(shape))
    reductions = ["none"] + (["add", "mul"] if b.opset >= 16 else []) + (["max", "min"] if b.opset >= 18 else [])
    attributes = b.some(0.7, reduction=reductions[b.integer(0, len(reductions) - 1)]) if b.opset >= 16 else {}
    cells = int(np.prod(shape[:depth]))
    count = b.integer(1, cells)
    flat = b.random.permutation(cells)[:count]
    if attributes.get("reduction", "none") != "none" and b.chance(0.5):
        flat = b.random.integers(0, cells, count)
    which = np.stack(np.unravel_index(flat, shape[:depth]), -1)
    which = np.where(b.random.random(which.shape) < 0.2, which - np.array(shape[:depth]), which).astype("int64")
    updates = b.values([count, *shape[depth:]], dtype)
    b.single(name, [b.data(b.values(shape, dtype)), b.tensor(which), b.tensor(updates)], **attributes)


@operator("TensorScatter", weight=1, since=24)
def tensor_scatter(b, name):
    batch, length, new, width = b.integer(1, 2), b.integer(3, 5), b.integer(1, 3), b.integer(1, 3)
    attributes = b.some(0.5, mode=b.pick("linear", "circular"))
    last = length - 1 if attributes.get("mode") == "circular" else length - new
    inputs = [b.data(b.values([batch, length, width])), b.tensor(b.values([batch, new, width]))]
    if b.chance(0.7):
        inputs.append(b.tensor(np.array(b.integers(0, last, batch), "int64")))
    b.single(name, inputs, axis=1, **attributes)


@operator("OneHot", weight=3)
def one_hot(b, name):
    index_type, depth_type, value_type = (b.pick_type(name, i) for i in range(3))
    depth = b.integer(1, 5)
    shape = b.shape(1, 3, 3)
    low = -depth - 1 if index_type != "uint8" and b.opset >= 11 else 0
    which = b.random.integers(low, depth + 1, shape).astype(index_type)
    rank = len(shape) + 1
    axis = b.axis(rank) if b.opset >= 11 else b.integer(-1, rank - 1)
    values = b.pick(np.array([0, 1]), np.array([2, 5]), np.array([1, 0])).astype(value_type)
    depth = b.parameter(depth if b.chance(0.6) else [depth], depth_type)
    b.single(name, [b.data(which), depth, b.tensor(values)], **b.some(axis=axis))


@operator("Compress", weight=1)
def compress(b, name):
    shape = b.shape(1, 3)
    attributes = b.some(axis=b.axis(len(shape)) if b.opset >= 11 else b.integer(0, len(shape) - 1))
    size = shape[attributes["axis"]] if attributes else int(np.prod(shape))
    condition = b.values([b.integer(1, size)], "bool")
    b.single(name, [b.data(data_values(b, name, shape)), b.tensor(condition)], **attributes)


@operator("NonZero", weight=1)
def non_zero(b, name):
    dtype = b.pick_type(name)
    # No scalars: onnxruntime differs from ONNX there.
    shape = [0, 2] if b.chance(0.1) else b.shape(1, 3)
    x = b.special_values(shape, dtype) if b.chance(0.3) else b.values(shape, dtype, 0, 2)
    b.single(name, [b.data(x.round() if np.dtype(dtype).kind == "f" else x)])


@operator("Unique", weight=1.5)
def unique(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(1, 3)
    attributes = b.some(0.5, axis=b.axis(len(shape)), sorted=b.integer(0, 1))
    x = b.values(shape, dtype, 0, 2)
    b.single(name, [b.data(x.round() if np.dtype(dtype).kind == "f" else x)], b.integer(1, 4), **attributes)
