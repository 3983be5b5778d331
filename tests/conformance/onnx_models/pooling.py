"""Pooling over windows and over whole images."""

import numpy as np

from builder import operator


def pool_input(b, dtype="float32"):
    rank = b.pick(1, 2, 2, 2, 3)
    shape = [b.integer(1, 2), b.integer(1, 3), *b.integers(4, 7 if rank < 3 else 5, rank)]
    return rank, shape, b.data(b.values(shape, dtype))


def pool_attributes(b, name, rank):
    kernel = b.integers(1, 3, rank)
    attributes = {"kernel_shape": kernel, **b.some(0.6, strides=b.integers(1, 3, rank))}
    padding = b.pick("none", "pads", "pads", "auto")
    if padding == "pads":
        attributes["pads"] = [b.integer(0, k - 1) for k in kernel * 2]
    elif padding == "auto":
        attributes["auto_pad"] = b.pick("SAME_UPPER", "SAME_LOWER", "VALID")
    dilations_since = {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[name]
    ceil_since = {"MaxPool": 10, "AveragePool": 10, "LpPool": 18}[name]
    if b.opset >= ceil_since:
        attributes.update(b.some(0.5, ceil_mode=b.integer(0, 1)))
    if b.opset >= dilations_since:
        attributes.update(b.some(0.25, dilations=b.integers(1, 2, rank)))
    return attributes


@operator("MaxPool", weight=8)
def max_pool(b, name):
    dtype = b.pick_type(name)
    rank, _, x = pool_input(b, dtype)
    attributes = pool_attributes(b, name, rank)
    outputs = 1
    if b.opset >= 8 and b.chance(0.25):
        outputs = 2
        attributes.update(b.some(0.3, storage_order=b.integer(0, 1)))
    b.single(name, [x], outputs, **attributes)


@operator("AveragePool", weight=8)
def average_pool(b, name):
    rank, _, x = pool_input(b, b.pick_type(name))
    b.single(name, [x], **pool_attributes(b, name, rank), **b.some(0.6, count_include_pad=b.integer(0, 1)))


@operator("LpPool", weight=2)
def lp_pool(b, name):
    rank, _, x = pool_input(b)
    b.single(name, [x], **pool_attributes(b, name, rank), **b.some(p=b.integer(1, 3)))


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", weight=1.2)
def global_pool(b, name):
    _, _, x = pool_input(b)
    b.single(name, [x], **(b.some(p=b.integer(1, 3)) if name == "GlobalLpPool" else {}))


@operator("MaxUnpool", weight=1)
def max_unpool(b, name):
    shape = [1, b.integer(1, 2), b.integer(2, 3), b.integer(2, 3)]
    size = shape[1] * 4 * shape[2] * shape[3]
    which = b.random.permutation(size)[:int(np.prod(shape))].reshape(shape).astype("int64")
    b.single(name, [b.data(b.values(shape)), b.tensor(which)], kernel_shape=[2, 2], strides=[2, 2])


@operator("MaxRoiPool", weight=0.5)
def max_roi_pool(b, name):
    rois = np.array([[0, 0, 0, 3, 3], [0, 1, 1, 4, 5]], "float32")
    b.single(name, [b.data(b.values([1, 2, 6, 6])), b.tensor(rois)], pooled_shape=b.integers(1, 2, 2),
             **b.some(0.5, spatial_scale=b.pick(0.5, 1.0)))
