"""Operators that reduce, search or accumulate along axes."""

import numpy as np

from builder import operator

AXES_INPUT_SINCE = {"ReduceSum": 13}  # the other Reduce operators: 18


def reduction_values(b, name, shape, dtype):
    if name in ("ReduceLogSum", "ReduceLogSumExp", "ReduceL2") and np.dtype(dtype).kind == "f":
        return b.values(shape, dtype, 0.5, 4)
    if name == "ReduceProd":
        # A few twos among ones: the product of int64 may exceed 32 bits, but not 64.
        values = np.ones(shape, dtype)
        twos = 40 if dtype == "int64" and b.chance(0.5) else 12
        values.flat[:twos] = 2
        return b.random.permuted(values) if values.ndim else values
    if b.chance(0.12) and (np.dtype(dtype).kind == "f" or name in ("ReduceMax", "ReduceMin")):
        values = b.special_values(shape, dtype)
        if name in ("ReduceMax", "ReduceMin") and values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.asarray(0, dtype), values)  # the order of NaN is not defined
        return values
    if dtype == "int64" and name in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean") and b.chance(0.4):
        return b.values(shape, dtype, -2**31, 2**31 - 1)
    if name == "ReduceMean" and np.dtype(dtype).kind in "iu":
        return b.values(shape, dtype) * 7
    return b.values(shape, dtype)


@operator("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
          "ReduceProd", "ReduceSum", "ReduceSumSquare", weight=2)
def reduce(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(1, 4)
    if b.chance(0.08):
        shape = b.pick([], [0, 3], [2, 0]) if name != "ReduceMean" else []  # the mean of nothing is not defined
    x = b.data(reduction_values(b, name, shape, dtype))
    attributes = b.some(0.6, keepdims=b.integer(0, 1))
    axes = b.distinct_axes(len(shape)) if shape and b.chance(0.7) else None
    if b.opset < 11 and axes:
        axes = [a % len(shape) for a in axes]
    if b.opset < AXES_INPUT_SINCE.get(name, 18):
        if axes:
            attributes["axes"] = axes
        b.single(name, [x], **attributes)
        return
    attributes.update(b.some(0.4, noop_with_empty_axes=b.integer(0, 1)))
    inputs = [x]
    if axes:
        inputs.append(b.parameter(axes))
    elif b.chance(0.5):
        inputs.append(b.pick("", b.constant(np.array([], "int64"))))
    b.single(name, inputs, **attributes)


@operator("ArgMax", "ArgMin", weight=3)
def arg_reduce(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(1, 4)
    # Few different values, so that several elements are the largest.
    x = b.data(b.values(shape, dtype, 0, 2).round() if b.chance(0.6) else b.values(shape, dtype))
    axis = b.axis(len(shape)) if b.opset >= 11 else b.integer(0, len(shape) - 1)
    attributes = b.some(axis=axis, keepdims=b.integer(0, 1))
    if b.opset >= 12:
        attributes.update(b.some(0.4, select_last_index=b.integer(0, 1)))
    b.single(name, [x], **attributes)


@operator("TopK", weight=4)
def top_k(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(1, 3, 6)
    axis = b.axis(len(shape)) if b.opset >= 11 else b.integer(0, len(shape) - 1)
    attributes = b.some(axis=axis)
    size = shape[attributes.get("axis", -1)]
    k = b.integer(0 if b.chance(0.1) else 1, size)
    x = b.values(shape, dtype, 0, 2).round() if b.chance(0.5) else b.values(shape, dtype)
    if dtype == "int64" and b.chance(0.3):
        x = x * 2**33
    if np.dtype(dtype).kind == "f" and b.chance(0.15):
        x = b.special_values(shape, dtype)
        x[np.isnan(x)] = 0
    if b.opset >= 11:
        attributes.update(b.some(largest=b.integer(0, 1)))
    if b.opset < 10:
        b.single(name, [b.data(x)], 2, k=k, **attributes)
        return
    outputs = b.node(name, [b.data(x), b.parameter([k])], 2, **attributes)
    b.output(*b.pick(outputs, outputs, outputs[:1], outputs[1:]))


@operator("CumSum", "CumProd", weight=1.5)
def cumulate(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(1, 3)
    axis = b.parameter(b.axis(len(shape)), b.pick("int64", "int32"))
    x = b.values(shape, dtype, 1, 3) if name == "CumProd" else b.values(shape, dtype)
    if name == "CumSum" and dtype == "int64" and b.chance(0.4):
        x = b.values(shape, dtype, 0, 2**31 - 1)
    b.single(name, [b.data(x), axis], **b.some(exclusive=b.integer(0, 1), reverse=b.integer(0, 1)))


@operator("ReverseSequence", weight=1)
def reverse_sequence(b, name):
    dtype = b.pick_type(name)
    shape = b.integers(2, 4, 2) + b.shape(0, 2, 3)
    attributes = b.pick({}, {"batch_axis": 0, "time_axis": 1}, {"batch_axis": 1, "time_axis": 0}, {"time_axis": 0})
    batch = attributes.get("batch_axis", 1)
    lengths = b.integers(1, shape[1 - batch], shape[batch])
    b.single(name, [b.data(b.values(shape, dtype)), b.parameter(lengths)], **attributes)
