"""Operators that sample images at other positions: Resize, Upsample, GridSample, AffineGrid."""

import numpy as np

from builder import operator


@operator("Upsample", weight=2, until=9)
def upsample(b, name):
    dtype = b.pick_type(name, allowed=("float32", "int32", "uint8"))
    shape = [b.integer(1, 2), b.integer(1, 2), b.integer(1, 4), b.integer(1, 4)]
    attributes = b.some(0.8, mode=b.pick("nearest", "linear"))
    scales = [1.0, 1.0, b.pick(1.0, 1.5, 2.0, 3.0), b.pick(1.0, 1.5, 2.0, 2.5)]
    x = b.data(b.values(shape, dtype))
    if b.opset < 9:
        b.single(name, [x], scales=scales, **attributes)
    else:
        b.single(name, [x, b.parameter(scales, "float32")], **attributes)


def resize_attributes(b):
    attributes = b.some(0.8, mode=b.pick("nearest", "linear", "linear", "cubic") if b.opset >= 11
                        else b.pick("nearest", "linear"))
    mode = attributes.get("mode", "nearest")
    if b.opset < 11:
        return mode, attributes
    transformations = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"]
    transformations += ["tf_half_pixel_for_nn"] if b.opset < 13 else []
    transformations += ["half_pixel_symmetric"] if b.opset >= 19 else []
    transformation = transformations[b.integer(0, len(transformations) - 1)]
    attributes.update(b.some(0.75, coordinate_transformation_mode=transformation))
    if mode == "nearest":
        nearest = b.pick("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        attributes.update(b.some(0.7, nearest_mode=nearest))
    if mode == "cubic":
        attributes.update(b.some(0.4, cubic_coeff_a=b.pick(-0.5, -0.75, -0.25)))
    if mode != "nearest" and b.chance(0.25):
        attributes["exclude_outside"] = b.integer(0, 1) if mode == "cubic" else 0
    if mode != "nearest" and b.opset >= 18:
        attributes.update(b.some(0.3, antialias=b.integer(0, 1)))
    attributes.update(b.some(0.3, extrapolation_value=b.pick(0.0, 9.0)))
    return mode, attributes


@operator("Resize", weight=16)
def resize(b, name):
    dtype = b.pick_type(name, allowed=("float32", "int32", "uint8", "int8"))
    mode, attributes = resize_attributes(b)
    if mode != "nearest" and dtype != "float32" and b.chance(0.7):
        dtype = "float32"
    space = b.pick(1, 2, 2, 2, 2, 3)
    shape = [b.integer(1, 2), b.integer(1, 2), *b.integers(1 if b.chance(0.2) else 2, 6, space)]
    resized = list(range(2, len(shape)))
    if mode == "nearest" and b.chance(0.1):
        resized = list(range(1, len(shape)))
    if b.opset >= 18 and b.chance(0.35):
        axes = [a - len(shape) if b.chance(0.3) else a for a in resized]
        attributes["axes"] = [axes[i] for i in b.random.permutation(len(axes))]
    listed = attributes.get("axes", list(range(len(shape))))
    scales = [b.pick(0.5, 1.0, 1.5, 2.0, 0.6, 0.75, 1.25, 3.0, 2.5, 1.3) if a % len(shape) in resized else 1.0
              for a in listed]
    sizes = [max(1, int(shape[a] * s)) if a % len(shape) in resized else shape[a] for a, s in zip(listed, scales)]
    x = b.data(b.values(shape, dtype))
    if b.opset < 11:
        b.single(name, [x, b.parameter(scales, "float32")], **attributes)
        return
    roi = ""
    if attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        starts = [b.pick(0.0, 0.25, -0.25) if a % len(shape) in resized else 0.0 for a in listed]
        ends = [b.pick(1.0, 0.75, 1.25) if a % len(shape) in resized else 1.0 for a in listed]
        roi = b.parameter(starts + ends, "float32")
    elif b.opset < 13 or b.chance(0.2):
        roi = b.constant(np.zeros([0], "float32"))
    if b.chance(0.55):
        inputs = [x, roi, b.parameter(scales, "float32")]
        if b.opset < 13 and b.chance(0.2):
            inputs.append("")
    else:
        scales = "" if b.opset >= 13 and b.chance(0.8) else b.constant(np.zeros([0], "float32"))
        inputs = [x, roi, scales, b.parameter(sizes)]
        if b.opset >= 18:
            policies = ["stretch", "not_larger", "not_smaller"]
            if len(listed) == space:
                attributes.update(b.some(0.5, keep_aspect_ratio_policy=policies[b.integer(0, 2)]))
    b.single(name, inputs, **attributes)


@operator("GridSample", weight=5)
def grid_sample(b, name):
    modes = ("bilinear", "nearest", "bicubic") if b.opset < 20 else ("linear", "nearest", "cubic")
    attributes = b.some(0.75, mode=b.pick(*modes), padding_mode=b.pick("zeros", "border", "reflection"),
                        align_corners=b.integer(0, 1))
    space = 3 if b.opset >= 20 and "cubic" not in attributes.get("mode", "") and b.chance(0.2) else 2
    batch = b.integer(1, 2)
    x = b.values([batch, b.integer(1, 2), *b.integers(2, 4, space)])
    # Odd multiples of 1/32 keep a distance from the ties of nearest sampling.
    grid = (2 * b.random.integers(-22, 22, [batch, *b.integers(1, 3, space), space]) + 1) / 32
    b.single(name, [b.data(x), b.tensor(grid.astype("float32"))], **attributes)


@operator("AffineGrid", weight=0.7)
def affine_grid(b, name):
    space = b.integer(2, 3)
    batch = b.integer(1, 2)
    theta = b.values([batch, space, space + 1], low=-1, high=1)
    size = [batch, b.integer(1, 2), *b.integers(2, 4, space)]
    b.single(name, [b.data(theta), b.parameter(size)], **b.some(align_corners=b.integer(0, 1)))
