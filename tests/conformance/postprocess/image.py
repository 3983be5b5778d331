"""`image-postprocess`: `save_image` of torchvision rounds as here; PNG and WebP are read by Pillow, and JPEG is compared with the
one of Pillow."""

import io

import numpy as np
from PIL import Image

from common import NO_CONTEXT, REFUSED, spoil

VARIANTS = [
    {"config": {}},
    {"config": {"format": "webp"}},
    {"config": {"format": "jpeg"}},
    {"config": {"layout": "nhwc", "channels": "bgr", "range": [-1, 1]}},
    {"config": {"range": [0, 255], "channels": "bgr", "format": "webp", "output": "second"}},
    {"config": {"range": "image", "layout": "nhwc"}},
    {"config": {"range": [255, 0], "format": "jpeg", "quality": 60, "layout": "nhwc"}},
    {"config": {"range": "image", "format": "webp"}},
    {"config": {"format": "jpeg", "quality": 100, "range": [-1, 1]}},
]


def make(random, variant):
    config = variant["config"]
    channels, (height, width) = int(random.choice([1, 3])), (int(side) for side in random.integers(1, 70, 2))
    smooth = random.normal(0, 1, (channels, height + 8, width + 8))
    for _ in range(int(random.integers(1, 9))):
        smooth = (smooth + np.roll(smooth, 1, 1) + np.roll(smooth, 1, 2) + np.roll(smooth, -1, 1)) / 4
    part = smooth[:, 4:-4, 4:-4]
    # Mostly in the range, and with some overshoot.
    part = (part - part.min()) / max(np.ptp(part), 1e-9) * random.uniform(0.2, 1.3) - random.choice([0, 0.1])
    is_bytes = random.random() < 0.2
    first, second = config["range"] if isinstance(config.get("range"), list) else ((0, 255) if is_bytes else (0, 1))
    values = part * (second - first) + first
    if is_bytes:
        values = np.clip(np.round(values * (1 if abs(second - first) > 2 else 100)), 0, 255).astype(np.uint8)
    else:
        values = values.astype(random.choice([np.float32, np.float16, np.float64]))
        if random.random() < 0.3:
            # Ties of the rounding.
            values = (np.round(part * 255) + 0.5).astype(values.dtype) / 255 * (second - first) + first
            values = values.astype(np.float32)
    refused = False
    if not is_bytes and random.random() < 0.1:
        spoil(random, values)
        refused = True
    elif not is_bytes and "range" not in config and random.random() < 0.1:
        values.reshape(-1)[0] = 255
        refused = True
    if random.random() < 0.05 and not refused:
        values[:] = values.reshape(-1)[0]
    wide = values.astype(np.float64)
    if config.get("range") == "image":
        first, second = wide.min(), wide.max()
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = (wide - first) / (second - first) if first != second else np.zeros(wide.shape)
        refused |= not ((parts >= -0.5) & (parts <= 1.5)).all()
        pixels = np.clip(np.floor(parts * 255 + 0.5), 0, 255)
    array = values
    if config.get("channels") == "bgr":
        pixels = pixels[::-1]
    if config.get("layout") == "nhwc":
        array = np.ascontiguousarray(array.transpose(1, 2, 0))
    shapes = [array.shape, (1, *array.shape)] + ([(height, width)] if channels == 1 else [])
    tensors = [("first", array.reshape(shapes[random.integers(len(shapes))]))]
    if "output" in config:
        tensors = [("first", random.normal(0, 1, 3).astype(np.float32)), ("second", tensors[0][1])]
    if refused:
        return tensors, NO_CONTEXT, REFUSED
    return tensors, NO_CONTEXT, pixels.astype(np.uint8).transpose(1, 2, 0)


def compare(reply, media_type, expected, variant):
    config = variant["config"]
    kind = config.get("format", "png")
    assert media_type == f"image/{kind}"
    image = Image.open(io.BytesIO(reply))
    assert image.format == kind.upper()
    height, width, channels = expected.shape
    assert image.size == (width, height)
    mode = "L" if channels == 1 else "RGB"
    # WebP has no gray images.
    assert image.mode == ("RGB" if kind == "webp" else mode)
    wanted = Image.fromarray(expected[:, :, 0] if channels == 1 else expected)
    if kind != "jpeg":
        np.testing.assert_array_equal(np.asarray(image.convert(mode)), np.asarray(wanted))
        return
    file = io.BytesIO()
    wanted.save(file, "JPEG", quality=config.get("quality", 90), subsampling=0)
    theirs = np.asarray(Image.open(file)).astype(int)
    # The same tables, but another transform, which rounds to another step now and then: both are equally near to the original,
    # except for the rounding of colours.
    ours, original = np.asarray(image).astype(int), np.asarray(wanted).astype(int)
    assert abs(ours - theirs).mean() < 2.5 and abs(ours - theirs).max() <= 40
    errors = [abs(found - original).mean() for found in (ours, theirs)]
    assert errors[0] <= 1.1 * errors[1] + 0.5, errors
    assert len(reply) < 1.2 * len(file.getvalue()) + 700
