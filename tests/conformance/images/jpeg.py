"""JPEG files that Pillow (libjpeg-turbo) writes, and the EXIF block of an orientation."""

import io

import numpy
from PIL import Image

from kinds import add, kind

# The tag Orientation (Exif 2.32, 4.6.4).
ORIENTATION = 0x0112


def exif(orientation):
    """The EXIF block of an orientation, as Pillow writes it; empty for the orientation 1 of every other file."""
    if orientation == 1:
        return b""
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block.tobytes()


def encode(pixels, mode="RGB", **options):
    """The pixels as JPEG by Pillow."""
    file = io.BytesIO()
    Image.fromarray(pixels, mode if mode == "CMYK" else None).save(file, "JPEG", **options)
    return file.getvalue()


def plain(case, **options):
    """A picture in colour with the case's orientation. Options that are not given vary with the case."""
    quality = case.choose(90, 75, 60, 95, 82, 45)
    return encode(case.rgb(), **{"quality": quality, "exif": exif(case.orientation), **options})


def _options(**options):
    return lambda case: plain(case, **options)


for _sampling in ("4:4:4", "4:2:2", "4:2:0"):
    _name = _sampling.replace(":", "")
    add(f"jpeg/{_name}-baseline", _options(subsampling=_sampling), turns=True)
    add(f"jpeg/{_name}-optimize", _options(subsampling=_sampling, optimize=True), turns=True)
    add(f"jpeg/{_name}-progressive", _options(subsampling=_sampling, progressive=True), turns=True)
    add(f"jpeg/{_name}-restart-rows", _options(subsampling=_sampling, restart_marker_rows=1), turns=True)
    add(f"jpeg/{_name}-restart-blocks", _options(subsampling=_sampling, restart_marker_blocks=3), turns=True)
add(
    "jpeg/progressive-restart",
    lambda case: plain(case, progressive=True, restart_marker_blocks=case.choose(1, 2, 5, 7)),
    turns=True,
)
add("jpeg/coarse-quality", lambda case: plain(case, quality=case.choose(5, 12, 20, 30)), turns=True)
add("jpeg/finest-quality", _options(quality=100, subsampling=0), turns=True)
add("jpeg/rgb-components", _options(keep_rgb=True), turns=True)
add("jpeg/with-icc-profile", _options(icc_profile=b"not a profile, but a reader that ignores it reads on" * 9))
add("jpeg/with-comment", _options(comment="Plimsoll " * 99), turns=True)


@kind("jpeg/gray", turns=True)
def _gray(case):
    return encode(case.gray(), quality=case.choose(90, 70, 40), exif=exif(case.orientation))


@kind("jpeg/gray-progressive", turns=True)
def _gray_progressive(case):
    return encode(case.gray(), progressive=True, quality=case.choose(88, 60), exif=exif(case.orientation))


def _saturated(**options):
    def make(case):
        # Colours at the corners of RGB, which coding moves out of it. Gray is not luma there.
        cells = case.random.choice([0, 255], size=(case.height // 6 + 1, case.width // 6 + 1, 3))
        pixels = cells.astype(numpy.uint8).repeat(6, 0).repeat(6, 1)[: case.height, : case.width]
        return encode(numpy.ascontiguousarray(pixels), quality=case.choose(75, 90), exif=exif(case.orientation), **options)

    return make


for _sampling in ("4:4:4", "4:2:0"):
    for _progressive in (False, True):
        _name = f"jpeg/saturated-{_sampling.replace(':', '')}{'-progressive' if _progressive else ''}"
        add(_name, _saturated(subsampling=_sampling, progressive=_progressive), turns=True)


@kind("jpeg/quantiser-of-16-bits", turns=True)
def _wide_quantiser(case):
    # Values above 255 make libjpeg write tables of 16 bits and an extended sequential image (SOF1).
    table = [min(8 + 6 * index, 400) for index in range(64)]
    return plain(case, qtables=[table, table])


def inks(case):
    """Cyan, magenta, yellow and black of a picture: bytes (height, width, 4)."""
    colours = 255 - case.rgb()
    black = numpy.minimum(colours.min(axis=-1), case.gray() // 3)
    return numpy.dstack([colours - black[:, :, None] // 2, black])


@kind("jpeg/cmyk", turns=True)
def _cmyk(case):
    return encode(inks(case), "CMYK", quality=case.choose(95, 80), exif=exif(case.orientation))


@kind("jpeg/cmyk-progressive", turns=True)
def _cmyk_progressive(case):
    return encode(inks(case), "CMYK", quality=90, progressive=True, exif=exif(case.orientation))


@kind("jpeg/ycck", turns=True)
def _ycck(case):
    # Adobe's YCCK: the YCbCr of the inverted inks, and black. Pillow inverts what it writes; the Adobe marker, which it
    # writes too, gets the transform 2.
    inverted = 255 - inks(case)
    colours = numpy.asarray(Image.fromarray(inverted[:, :, :3]).convert("YCbCr"))
    body = bytearray(
        encode(255 - numpy.dstack([colours, inverted[:, :, 3]]), "CMYK", quality=95, exif=exif(case.orientation))
    )
    body[body.index(b"Adobe") + 11] = 2
    return bytes(body)
