"""WebP files that Pillow (libwebp) writes, and an animation whose first frame does not cover it."""

import io
import struct

import numpy
from PIL import Image

from jpeg import exif
from kinds import add, kind


def encode(pixels, **options):
    """The pixels as WebP by Pillow; four channels have alpha."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", **options)
    return file.getvalue()


def _maker(with_alpha, **options):
    def make(case):
        pixels = numpy.dstack([case.rgb(), case.alpha()]) if with_alpha else case.rgb()
        more = {} if options.get("lossless") else {"quality": case.choose(80, 95, 60, 30, 100)}
        return encode(pixels, exif=exif(case.orientation), method=case.choose(4, 0, 6), **more, **options)

    return make


for _with_alpha in (False, True):
    _end = "-alpha" if _with_alpha else ""
    add(f"webp/lossy{_end}", _maker(_with_alpha), turns=True)
    add(f"webp/lossless{_end}", _maker(_with_alpha, lossless=True, exact=True), turns=True)
    add(f"webp/lossless-inexact{_end}", _maker(_with_alpha, lossless=True), turns=True)
add("webp/lossy-coarse-alpha", _maker(True, alpha_quality=20), turns=True)
add("webp/with-icc-profile", _maker(False, icc_profile=b"not a profile" * 20), turns=True)


@kind("webp/palette")
def _palette(case):
    colours = Image.fromarray(case.rgb()).quantize(case.choose(2, 4, 16, 200)).convert("RGB")
    return encode(numpy.asarray(colours), lossless=True)


@kind("webp/gray")
def _gray(case):
    return encode(case.gray(), lossless=case.variant % 2 == 1, quality=90)


@kind("webp/animated")
def _animated(case):
    frames = [Image.fromarray(numpy.dstack([case.rgb(), case.alpha()])) for _ in range(3)]
    file = io.BytesIO()
    lossless = case.variant % 2 == 1
    frames[0].save(
        file, "WEBP", save_all=True, append_images=frames[1:], duration=50, lossless=lossless, exact=True, quality=85
    )
    return file.getvalue()


def chunk(name, content):
    """A chunk, padded to a multiple of two bytes."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def three(number):
    """A number of three bytes."""
    return struct.pack("<I", number)[:3]


@kind("webp/animated-first-frame-smaller")
def _small_frame(case):
    # The first frame is the lower right part; it begins at an even position.
    left, top = case.width // 4 * 2, case.height // 4 * 2
    part = numpy.ascontiguousarray(case.rgb()[top:, left:])
    frame = encode(part, lossless=case.variant % 2 == 1, quality=90)[12:]
    head = three(left // 2) + three(top // 2) + three(part.shape[1] - 1) + three(part.shape[0] - 1) + three(80) + b"\2"
    extended = bytes([0x02, 0, 0, 0]) + three(case.width - 1) + three(case.height - 1)
    body = chunk(b"VP8X", extended) + chunk(b"ANIM", bytes(6)) + 2 * chunk(b"ANMF", head + frame)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
