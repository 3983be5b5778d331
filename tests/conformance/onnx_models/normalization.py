"""Softmax and its relatives, and the operators that normalise by mean, variance or norm."""

import numpy as np

from builder import operator


@operator("Softmax", "LogSoftmax", weight=5)
def softmax(b, name):
    _softmax(b, name)


@operator("Hardmax", weight=2)
def hardmax(b, name):
    _softmax(b, name)


def _softmax(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(1, 4)
    rank = len(shape)
    axis = b.axis(rank) if b.opset >= 11 else b.integer(0, rank - 1)
    x = b.values(shape, dtype)
    if b.chance(0.1) and dtype == "float32":
        x = x * np.float32(100)
    b.single(name, [b.data(x)], **b.some(0.75, axis=axis))


@operator("BatchNormalization", weight=4)
def batch_normalization(b, name):
    dtype = b.pick_type(name)
    shape = b.pick(b.integers(1, 4, 2), b.integers(1, 4, 3), b.integers(1, 4, 4), b.integers(1, 3, 5))
    channels = shape[1]
    scale, bias, mean = b.values([channels], dtype), b.values([channels], dtype), b.values([channels], dtype)
    variance = b.values([channels], dtype, 0.5, 4)
    make = b.constant if b.chance(0.7) else b.input
    attributes = b.some(epsilon=b.pick(1e-5, 1e-3, 0.25), momentum=0.75)
    if b.opset >= 14 and b.chance(0.3):
        attributes["training_mode"] = 0
    if b.opset < 9 and b.chance(0.3):
        attributes["spatial"] = 1
    b.single(name, [b.data(b.values(shape, dtype)), *map(make, (scale, bias, mean, variance))], **attributes)


@operator("InstanceNormalization", weight=2)
def instance_normalization(b, name):
    dtype = b.pick_type(name, allowed=("float32", "float32", "float64"))
    shape = b.integers(1, 3, 2) + b.integers(2, 4, b.integer(1, 3))
    inputs = [b.data(b.values(shape, dtype)), *(b.tensor(b.values([shape[1]], dtype)) for _ in range(2))]
    b.single(name, inputs, **b.some(epsilon=b.pick(1e-5, 1e-2, 0.25)))


@operator("LayerNormalization", weight=4)
def layer_normalization(b, name):
    dtype = b.pick_type(name, allowed=("float32", "float64"))
    shape = b.integers(2, 5, b.integer(1, 4))
    attributes = b.some(axis=b.axis(len(shape)), epsilon=b.pick(1e-5, 1e-2, 0.25))
    rest = shape[attributes.get("axis", -1):]
    inputs = [b.data(b.values(shape, dtype)), b.tensor(b.values(rest, dtype))]
    if b.chance(0.6):
        inputs.append(b.tensor(b.values(rest, dtype)))
    b.single(name, inputs, b.pick(1, 1, 1, 2, 3, [True, False, True]), **attributes)


@operator("RMSNormalization", weight=2)
def rms_normalization(b, name):
    dtype = b.pick_type(name, allowed=("float32", "float64"))
    shape = b.integers(2, 5, b.integer(1, 4))
    attributes = b.some(axis=b.axis(len(shape)), epsilon=b.pick(1e-5, 1e-2, 0.25))
    rest = shape[attributes.get("axis", -1):]
    if b.chance(0.2):
        rest = rest[-1:]
    b.single(name, [b.data(b.values(shape, dtype)), b.tensor(b.values(rest, dtype))], **attributes)


@operator("GroupNormalization", weight=2, since=18)
def group_normalization(b, name):
    dtype = b.pick_type(name, allowed=("float32", "float64"))
    groups = b.integer(1, 3)
    channels = groups * b.integer(1, 3)
    shape = [b.integer(1, 2), channels] + b.integers(2, 4, b.integer(1, 3))
    size = groups if b.opset < 21 else channels
    inputs = [b.data(b.values(shape, dtype)), *(b.tensor(b.values([size], dtype)) for _ in range(2))]
    b.single(name, inputs, num_groups=groups, **b.some(epsilon=b.pick(1e-5, 0.25)))


@operator("LRN", weight=1.5)
def local_response_normalization(b, name):
    shape = [b.integer(1, 2), b.integer(1, 6), b.integer(1, 3), b.integer(1, 3)]
    attributes = b.some(alpha=b.pick(0.01, 0.5), beta=b.pick(0.5, 1.5), bias=b.pick(0.5, 2.0))
    b.single(name, [b.data(b.values(shape))], size=b.pick(1, 3, 5), **attributes)


@operator("LpNormalization", weight=1.5)
def lp_normalization(b, name):
    shape = b.shape(1, 3)
    b.single(name, [b.data(b.values(shape, low=0.5, high=4))], **b.some(axis=b.axis(len(shape)), p=b.integer(1, 2)))


@operator("MeanVarianceNormalization", weight=1)
def mean_variance_normalization(b, name):
    shape = b.integers(1, 3, 2) + b.integers(2, 3, 2)
    b.single(name, [b.data(b.values(shape))], **b.some(axes=b.pick([0, 2, 3], [2, 3], [1, 2, 3], [0, 1, 2, 3])))
