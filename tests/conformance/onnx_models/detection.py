"""Operators on boxes: NonMaxSuppression and RoiAlign."""

import numpy as np

from builder import operator


@operator("NonMaxSuppression", weight=6)
def non_max_suppression(b, name):
    batches, classes, count = b.pick(1, 1, 2), b.pick(1, 1, 2, 3), b.integer(2, 7)
    attributes = b.some(0.5, center_point_box=b.integer(0, 1))
    # Boxes on a grid; many of them overlap a lot.
    corners = b.random.integers(0, 4, [batches, count, 2]) * 4 + b.random.integers(0, 3, [batches, count, 2]) * 0.5
    sizes = b.random.integers(4, 8, [batches, count, 2])
    if attributes.get("center_point_box"):
        boxes = np.concatenate([corners + sizes / 2, sizes], -1)
    else:
        first, second = corners, corners + sizes
        if b.chance(0.35):
            flipped = b.random.random([batches, count, 2]) < 0.4
            first, second = np.where(flipped, second, first), np.where(flipped, first, second)
        boxes = np.concatenate([first, second], -1)
    levels = 4 if b.chance(0.3) else 64  # few levels: equal scores
    scores = b.random.integers(0, levels, [batches, classes, count]) / levels
    inputs = [b.data(boxes.astype("float32")), b.tensor(scores.astype("float32"))]
    options = [(b.pick(0, 1, 2, 10), "int64"), (b.pick(0.0, 0.3, 0.47, 0.9), "float32"),
               (b.pick(0.0, 0.26, 0.51), "float32")]
    if options[0][0] == 0 and b.chance(0.6):
        options[0] = (5, "int64")
    for value, dtype in options[:b.pick(0, 1, 2, 2, 3, 3, 3)]:
        inputs.append("" if b.chance(0.12) else b.parameter(value if b.chance(0.3) else [value], dtype))
    if len(inputs) == 2 and b.chance(0.7):
        inputs.append(b.parameter([3]))
    b.single(name, inputs, **attributes)


@operator("RoiAlign", weight=1.5)
def roi_align(b, name):
    batch, count = b.integer(1, 2), b.integer(1, 3)
    x = b.values([batch, b.integer(1, 2), b.integer(4, 6), b.integer(4, 6)])
    first = b.random.integers(0, 4, [count, 2]) / 2
    rois = np.concatenate([first, first + b.random.integers(2, 8, [count, 2]) / 2 + 0.125], -1).astype("float32")
    attributes = b.some(mode=b.pick("avg", "max"), output_height=b.integer(1, 3), output_width=b.integer(1, 3),
                        sampling_ratio=b.integer(0, 3), spatial_scale=b.pick(0.5, 1.0))
    if b.opset >= 16:
        attributes.update(b.some(coordinate_transformation_mode=b.pick("half_pixel", "output_half_pixel")))
    which = np.array(b.integers(0, batch - 1, count), "int64")
    b.single(name, [b.data(x), b.tensor(rois), b.tensor(which)], **attributes)
