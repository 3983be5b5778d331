"""The plan of the suite: which kinds, in which sizes and orientations, and with which targets."""

import itertools
import zlib

import numpy

import bmp
import gif
import jpeg
import jpeg_damage
import jpeg_exif
import jpeg_lossless
import jpeg_markers
import jpeg_planes
import jpeg_tools
import png
import tiff
import tiff_jpeg
import tiff_tags
import tiff_tools
import webp
import xmp
from kinds import Case, available
from reference import Target

# The modules register their kinds when they are imported.
MODULES = (
    (jpeg, jpeg_tools, jpeg_markers, jpeg_planes, jpeg_exif, jpeg_damage, jpeg_lossless),
    (png, webp, gif, bmp, tiff, tiff_jpeg, tiff_tags, tiff_tools, xmp),
)
# The number of files of the whole suite.
ALL = 2600

# Sizes as stored. The sides leave many remainders by 8 and 16, the sides of blocks and MCUs. Few sizes are enough, and
# each needs a configuration of its own for the target of equal size.
SIZES = [
    (131, 77),
    (64, 48),
    (97, 161),
    (200, 150),
    (33, 17),
    (96, 96),
    (150, 200),
    (77, 131),
    (90, 123),
    (17, 33),
    (161, 97),
    (48, 64),
    (123, 90),
    (1, 1),
    # Smaller than a block or an MCU: chroma has few samples.
    (2, 16),
    (15, 2),
    (3, 5),
    (8, 7),
    (16, 9),
]
# A sample has fewer sizes, because its test compiles the plugin for each configuration. They are turned into each other,
# and their number has no common divisor with that of the orientations.
SAMPLE_SIZES = [(131, 77), (64, 48), (33, 17), (77, 131), (17, 33), (48, 64), (1, 1)]
# Every so many files, one has this size instead.
LARGE, LARGE_EVERY = (597, 401), 67
MODES = ("stretch", "letterbox", "crop")
# Targets, each with the smallest shorter side of an image that uses it. A crop of the second first resizes the shorter
# side to 72 pixels.
SMALLER = [(12, 9), (28, 20), (56, 64)]
LARGER = [(160, 144), (224, 208), (640, 512)]


def cases(count, seed):
    """The files of the suite: one of each kind, then another of each kind, and so on. Also returns the programs that
    are missing, with the number of their kinds."""
    kinds, missing = available()
    numpy.random.default_rng(seed).shuffle(kinds)
    sizes = SIZES if count >= ALL else SAMPLE_SIZES
    found = []
    for variant in itertools.count():
        for place, kind in enumerate(kinds):
            number = len(found)
            if number == count:
                return found, missing
            # The steps have no common divisor with the number of orientations and sizes, so that all of both meet.
            orientation = 1 + (3 * variant + 5 * place) % 8 if kind.turns else 1
            size = sizes[(5 * variant + 3 * place) % len(sizes)]
            if number % LARGE_EVERY == LARGE_EVERY - 1:
                size = LARGE
            random = numpy.random.default_rng([seed, zlib.crc32(kind.name.encode()), variant])
            found.append(Case(kind, variant, *size, orientation, number, random))


def targets(case, size):
    """The smaller, the equal and the larger target of a file with this size after its orientation is applied."""
    shorter, longer = min(size), max(size)
    mode = MODES[(case.variant + case.number) % 3]
    fitting = [target for target in SMALLER if max(target) <= shorter] or SMALLER[:1]
    smaller = fitting[case.number // 3 % len(fitting)]
    resized = 72 if mode == "crop" and smaller == SMALLER[2] else None
    larger = next(target for target in LARGER if min(target) >= longer or target == LARGER[-1])
    # All modes are the same for an equal size, so the mode depends on the size only.
    equal = MODES[(size[0] + 2 * size[1]) % 3]
    return (
        Target(*smaller, mode, resized, gray=case.number % 3 == 1),
        Target(*size, equal),
        Target(*larger, MODES[(case.variant // 3 + case.number) % 3], gray=case.number % 3 == 2),
    )
