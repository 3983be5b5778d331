"""What the suites share, and those of `../detections`."""

import json
import struct

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


def map_size(random, context, most):
    """Rows and columns of a map over the input, at most so many, rounded up or down."""
    sides, places = [context["input_height"], context["input_width"]], int(random.integers(1, most))
    rounded = random.choice([np.floor, np.ceil])
    return [max(1, int(rounded(side * places / max(sides)))) for side in sides]


def spoil(random, array):
    """Makes one element NaN or infinite."""
    array.reshape(-1)[random.integers(array.size)] = random.choice([np.nan, np.inf, -np.inf])


def body(tensors, context):
    """The body for `given-tensors`. A tensor is a name and an array, or a name, the bytes of bf16 and a shape."""
    names = {"float16": "fp16", "float32": "fp32", "float64": "fp64", "uint8": "u8", "int32": "i32", "int64": "i64"}
    described, data = [], b""
    for name, array, *shape in tensors:
        element = "bf16" if shape else names[str(array.dtype)]
        described.append({"name": name, "type": element, "shape": shape[0] if shape else array.shape})
        data += array.tobytes()
    text = json.dumps({"tensors": described, "context": context}).encode()
    return struct.pack("<I", len(text)) + text + data
