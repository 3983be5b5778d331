"""Operators that move elements without computing: shapes, transposition, concatenation, padding, tiling."""

import numpy as np

from builder import operator

INT64_MAX, INT64_MIN = 2**63 - 1, -2**63


def any_data(b, name, shape, position=0):
    dtype = b.pick_type(name, position)
    return b.data(b.values(shape, dtype))


@operator("Identity", weight=0.7)
def identity(b, name):
    dtype = b.pick_type(name)
    values = b.special_values(b.shape(0), dtype)
    if b.chance(0.3) and dtype == "int64":
        values = b.values(b.shape(0), dtype, -2**50, 2**50)
    b.single(name, [b.data(values)])


@operator("Shape", weight=1.5)
def shape_of(b, name):
    attributes = b.some(0.5, start=b.integer(-6, 6), end=b.integer(-6, 6)) if b.opset >= 15 else {}
    b.single(name, [any_data(b, name, b.pick([], [0, 3], b.shape(), b.shape(), b.shape()))], **attributes)


@operator("Size", weight=0.6)
def size_of(b, name):
    b.single(name, [any_data(b, name, b.pick([], [0, 3], b.shape(), b.shape()))])


@operator("Reshape", weight=3)
def reshape(b, name):
    shape = b.shape(0, 4)
    total = int(np.prod(shape))
    target = factors(b, total)
    attributes = {}
    if b.opset >= 14 and b.chance(0.3):
        attributes["allowzero"] = b.integer(0, 1)
    if b.chance(0.15):
        shape = b.pick([0, 3], [2, 0, 3])
        target = b.pick([0, 3], [3, 0], [0, 0], [0, 5, 0]) if attributes.get("allowzero") else b.pick([0, 3], [0])
    elif not attributes.get("allowzero"):
        # 0 copies the dimension of the input at the same position.
        target = [0 if i < len(shape) and shape[i] == n and b.chance(0.4) else n for i, n in enumerate(target)]
    if target and b.chance(0.5) and 0 not in shape:
        target[b.integer(0, len(target) - 1)] = -1
    b.single(name, [any_data(b, name, shape), b.parameter(target)], **attributes)


def factors(b, total):
    """A random shape with `total` elements."""
    shape = []
    while total > 1 and len(shape) < 4:
        divisors = [d for d in range(1, total + 1) if total % d == 0]
        shape.append(divisors[b.integer(0, len(divisors) - 1)])
        total //= shape[-1]
    return shape + ([total] if total > 1 or (not shape and b.chance(0.5)) else [])


@operator("Flatten", weight=1.5)
def flatten(b, name):
    shape = b.shape(1, 4)
    low = -len(shape) if b.opset >= 11 else 0
    b.single(name, [any_data(b, name, shape)], **b.some(axis=b.integer(low, len(shape))))


@operator("Squeeze", weight=2)
def squeeze(b, name):
    shape = [1 if b.chance(0.5) else n for n in b.shape(1, 5)]
    ones = [i for i, n in enumerate(shape) if n == 1]
    low_negative = b.opset >= 11
    axes = [a - len(shape) if low_negative and b.chance(0.4) else a for a in ones if b.chance(0.7)]
    b.random.shuffle(axes)
    x = any_data(b, name, shape)
    if not axes:
        b.single(name, [x])
    elif b.opset >= 13:
        b.single(name, [x, b.parameter(axes)])
    else:
        b.single(name, [x], axes=axes)


@operator("Unsqueeze", weight=2)
def unsqueeze(b, name):
    shape = b.shape(0, 3)
    count = b.integer(1, 3)
    rank = len(shape) + count
    axes = [int(a) for a in b.random.permutation(rank)[:count]]
    if b.opset >= 11:
        axes = [a - rank if b.chance(0.4) else a for a in axes]
    x = any_data(b, name, shape)
    if b.opset >= 13:
        b.single(name, [x, b.parameter(axes)])
    else:
        b.single(name, [x], axes=axes)


@operator("Transpose", weight=1.5)
def transpose(b, name):
    shape = b.shape(0, 5, 4)
    b.single(name, [any_data(b, name, shape)], **b.some(perm=[int(a) for a in b.random.permutation(len(shape))]))


@operator("Concat", weight=1.5)
def concat(b, name):
    dtype = b.pick_type(name)
    shape = b.shape(1, 4)
    axis = b.axis(len(shape)) if b.opset >= 11 else b.integer(0, len(shape) - 1)
    names = []
    for _ in range(b.integer(1, 4)):
        part = list(shape)
        part[axis] = b.integer(0 if b.chance(0.2) else 1, 4)
        names.append(b.tensor(b.values(part, dtype)))
    if b.chance(0.1):
        names.append(names[0])
    b.single(name, names, axis=axis)


@operator("Split", weight=2.5)
def split(b, name):
    shape = b.shape(1, 4, 7)
    axis = b.axis(len(shape)) if b.opset >= 11 else b.integer(0, len(shape) - 1)
    attributes = b.some(axis=axis)
    axis = attributes.get("axis", 0)
    count = b.integer(1, 4)
    sizes = b.integers(0 if b.chance(0.2) else 1, 3, count)
    is_even = b.chance(0.4)
    x_shape = list(shape)
    if is_even:
        x_shape[axis] = count * b.integer(1, 3)
        if b.opset >= 18:
            attributes["num_outputs"] = count
            x_shape[axis] = b.integer(count, 9)  # uneven: the last part is smaller
        b.single(name, [any_data(b, name, x_shape)], count, **attributes)
        return
    x_shape[axis] = sum(sizes)
    x = any_data(b, name, x_shape)
    if b.opset >= 13:
        b.single(name, [x, b.parameter(sizes)], count, **attributes)
    else:
        b.single(name, [x], count, split=sizes, **attributes)


@operator("Expand", weight=1.2)
def expand(b, name):
    shape = b.shape(0, 4)
    target = [n if b.chance(0.6) else 1 for n in shape]
    shape = [1 if n == 1 and b.chance(0.3) else n for n in shape]
    target = [b.integer(1, 4) if n == 1 and b.chance(0.6) else t for n, t in zip(shape, target)]
    target = b.integers(1, 3, b.integer(0, 2)) + target if b.chance(0.4) else target[b.integer(0, len(target)):]
    b.single(name, [any_data(b, name, shape), b.parameter(target)])


@operator("Tile", weight=1)
def tile(b, name):
    shape = b.shape(1, 4)
    repeats = b.integers(0 if b.chance(0.1) else 1, 3, len(shape))
    b.single(name, [any_data(b, name, shape), b.parameter(repeats)])


@operator("Trilu", weight=1.5)
def trilu(b, name):
    shape = b.shape(2, 4)
    inputs = [any_data(b, name, shape)]
    if b.chance(0.6):
        inputs.append(b.parameter(b.integer(-6, 6)))
    b.single(name, inputs, **b.some(upper=b.integer(0, 1)))


@operator("DepthToSpace", weight=1.2)
def depth_to_space(b, name):
    block = b.integer(1, 3)
    shape = [b.integer(1, 2), block * block * b.integer(1, 3), b.integer(1, 3), b.integer(1, 4)]
    attributes = b.some(mode=b.pick("DCR", "CRD")) if b.opset >= 11 else {}
    b.single(name, [any_data(b, name, shape)], blocksize=block, **attributes)


@operator("SpaceToDepth", weight=0.8)
def space_to_depth(b, name):
    block = b.integer(1, 3)
    shape = [b.integer(1, 2), b.integer(1, 3), block * b.integer(1, 3), block * b.integer(1, 3)]
    b.single(name, [any_data(b, name, shape)], blocksize=block)


@operator("Slice", weight=5)
def slice_(b, name):
    shape = b.shape(1, 4, 7)
    has_axes = b.chance(0.7)  # absent: all axes
    axes = b.distinct_axes(len(shape)) if has_axes else list(range(len(shape)))
    starts, ends, steps = [], [], []
    for axis in axes:
        size = shape[axis]
        step = b.pick(1, 1, 2, 3, -1, -2) if b.opset >= 10 else 1
        start, end = b.integer(-size - 2, size + 2), b.integer(-size - 2, size + 2)
        if b.chance(0.3):
            end = INT64_MIN if step < 0 else INT64_MAX
            start = b.pick(INT64_MAX, -1, size) if step < 0 else b.pick(0, 1, INT64_MIN)
        starts.append(start), ends.append(end), steps.append(step)
    x = any_data(b, name, shape)
    if b.opset < 10:
        b.single(name, [x], starts=starts, ends=ends, **({"axes": [a % len(shape) for a in axes]} if has_axes else {}))
        return
    dtype = "int64" if max(map(abs, starts + ends)) > 2**31 - 1 else b.pick("int64", "int64", "int32")
    inputs = [x, b.parameter(starts, dtype), b.parameter(ends, dtype)]
    has_steps = any(step != 1 for step in steps) or b.chance(0.3)
    if has_axes:
        inputs.append(b.parameter(axes, dtype))
    elif has_steps:
        inputs.append("")
    if has_steps:
        inputs.append(b.parameter(steps, dtype))
    b.single(name, inputs)


@operator("Pad", weight=5)
def pad(b, name):
    modes = ["constant", "reflect", "edge"] + (["wrap"] if b.opset >= 19 else [])
    attributes = b.some(0.7, mode=modes[b.integer(0, len(modes) - 1)])
    mode = attributes.get("mode", "constant")
    shape = b.integers(2, 5, b.integer(1, 4))
    axes = b.distinct_axes(len(shape)) if b.opset >= 18 and b.chance(0.5) else list(range(len(shape)))
    low = -1 if b.chance(0.3) else 0
    largest = 3 if mode == "constant" else 1
    pads = b.integers(low, largest, 2 * len(axes))
    if mode != "constant" and len(axes) > 2:  # only the last two axes: engines support the rest less often
        pads = [p if axes[i % len(axes)] % len(shape) >= len(shape) - 2 else 0 for i, p in enumerate(pads)]
    x = any_data(b, name, shape)
    dtype = str(b.inputs[x].dtype) if x in b.inputs else None
    if b.opset < 11:
        b.single(name, [x], pads=pads, **attributes, **b.some(0.5, value=float(b.integer(-3, 3))))
        return
    inputs = [x, b.parameter(pads)]
    has_axes = axes != list(range(len(shape))) or (b.opset >= 18 and b.chance(0.2))
    if dtype and b.chance(0.6):
        inputs.append(b.parameter(b.integer(1, 3), dtype))
    elif has_axes:
        inputs.append("")
    if has_axes:
        inputs.append(b.parameter(axes))
    b.single(name, inputs, **attributes)


@operator("CenterCropPad", weight=0.7)
def center_crop_pad(b, name):
    shape = b.shape(1, 3, 6)
    axes = b.distinct_axes(len(shape))
    attributes = {"axes": axes} if b.chance(0.6) else {}
    target = b.integers(1, 6, len(axes) if attributes else len(shape))
    b.single(name, [b.data(b.values(shape)), b.parameter(target)], **attributes)
