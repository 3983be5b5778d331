"""Source pictures: smooth colours, soft noise, hard edges and grain, as in a photo of a scene with objects."""

import numpy
from PIL import Image


def _plane(random, width, height, amplitude):
    """Two waves and two octaves of soft noise around 0."""
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.float32)
    plane = numpy.zeros((height, width), dtype=numpy.float32)
    for _ in range(2):
        angle, length, phase = random.uniform(0, 7), random.uniform(15, 80), random.uniform(0, 7)
        plane += numpy.sin((x * numpy.cos(angle) + y * numpy.sin(angle)) / length + phase)
    for cells in (3, 9):
        coarse = Image.fromarray(random.normal(size=(cells, cells)).astype(numpy.float32))
        plane += 0.6 * numpy.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return plane * (amplitude / 2)


def gray(random, width, height):
    """A gray picture: bytes (height, width)."""
    luma = 128 + _plane(random, width, height, 55)
    for _ in range(6):
        x, y = random.integers(width), random.integers(height)
        w, h = random.integers(1, width // 3 + 2), random.integers(1, height // 3 + 2)
        luma[y : y + h, x : x + w] += random.integers(-40, 41)
    luma += random.normal(size=luma.shape) * 3
    return luma.round().clip(0, 255).astype(numpy.uint8)


def rgb(random, width, height):
    """A picture in colour: bytes (height, width, 3)."""
    luma = gray(random, width, height).astype(numpy.float32)
    blue, red = (_plane(random, width, height, 30) for _ in range(2))
    for _ in range(3):
        x, y = random.integers(width), random.integers(height)
        w, h = random.integers(1, width // 2 + 2), random.integers(1, height // 2 + 2)
        blue[y : y + h, x : x + w] += random.integers(-25, 26)
        red[y : y + h, x : x + w] += random.integers(-25, 26)
    # The colours stay within RGB: values beyond it would be clipped at different steps of different decoders.
    luma = 40 + luma * (175 / 255)
    blue, red = blue.clip(-50, 50), red.clip(-50, 50)
    colours = (luma + 1.402 * red, luma - 0.344 * blue - 0.714 * red, luma + 1.772 * blue)
    return numpy.stack(colours, axis=-1).round().clip(0, 255).astype(numpy.uint8)


def alpha(random, width, height):
    """An alpha channel: bytes (height, width)."""
    plane = 128 + _plane(random, width, height, 160)
    return plane.round().clip(0, 255).astype(numpy.uint8)
