"""What the suites share."""

import numpy as np

# What `make` returns instead of the expected reply if the reply must be an error.
REFUSED = object()

# A context that a plugin does not read.
NO_CONTEXT = {}


def geometry(random, largest=900):
    """A context of `image-preprocess`, for stretch, letterbox and crop, and an input of at most 160 pixels."""
    width, height = (int(side) for side in random.integers(20, largest, 2))
    inputs = [int(side) * 32 for side in random.integers(1, 6, 2)]
    mode = str(random.choice(["stretch", "letterbox", "crop"]))
    scale = [inputs[0] / width, inputs[1] / height]
    if mode == "letterbox":
        scale = [min(scale)] * 2
    if mode == "crop":
        scale = [max(scale)] * 2
    full = [max(1, round(width * scale[0])), max(1, round(height * scale[1]))]
    offset = [(inputs[axis] - full[axis]) // 2 for axis in range(2)]
    return {
        "width": width, "height": height, "resize": mode, "input_width": inputs[0], "input_height": inputs[1],
        "scale_x": full[0] / width, "scale_y": full[1] / height, "offset_x": offset[0], "offset_y": offset[1],
    }


def spoil(random, array):
    """Makes one element NaN or infinite."""
    array.reshape(-1)[random.integers(array.size)] = random.choice([np.nan, np.inf, -np.inf])
