"""GIF files that Pillow writes, and files whose blocks are changed afterwards."""

import io

import numpy
from PIL import Image

from kinds import add, kind

# The length of the header with the logical screen descriptor (GIF89a, 17 and 18).
HEADER = 13


def quantised(case, colours=256):
    """A picture with a palette."""
    return Image.fromarray(case.rgb()).quantize(colours, dither=Image.Dither.NONE)


def encode(image, **options):
    """The image as GIF by Pillow."""
    file = io.BytesIO()
    image.save(file, "GIF", **options)
    return file.getvalue()


def _colours(count, interlace):
    return lambda case: encode(quantised(case, count), interlace=interlace, optimize=case.variant % 2 == 1)


for _count in (2, 3, 8, 17, 64, 256):
    add(f"gif/{_count}-colours", _colours(_count, False))
    add(f"gif/{_count}-colours-interlaced", _colours(_count, True))


@kind("gif/gray")
def _gray(case):
    return encode(Image.fromarray(case.gray()))


@kind("gif/transparent")
def _transparent(case):
    return encode(quantised(case, case.choose(256, 30)), transparency=case.choose(0, 5), interlace=case.variant % 2)


@kind("gif/animated")
def _animated(case):
    frames = [quantised(case) for _ in range(3)]
    return encode(frames[0], save_all=True, append_images=frames[1:], duration=40, disposal=case.choose(0, 1, 2))


@kind("gif/comment")
def _comment(case):
    return encode(quantised(case), comment=b"Plimsoll " * 60)


def parts(body):
    """The screen descriptor, the global palette, the blocks before the image, its descriptor, and the rest."""
    screen = bytearray(body[:HEADER])
    size = 3 * 2 ** ((screen[10] & 7) + 1) if screen[10] & 0x80 else 0
    palette, at = body[HEADER : HEADER + size], HEADER + size
    start = at
    while body[at] == 0x21:
        at += 2
        while body[at]:
            at += body[at] + 1
        at += 1
    return screen, palette, body[start:at], bytearray(body[at : at + 10]), body[at + 10 :]


@kind("gif/local-palette")
def _local(case):
    screen, palette, blocks, descriptor, rest = parts(encode(quantised(case, case.choose(256, 16)), optimize=False))
    if not descriptor[9] & 0x80:
        descriptor[9] |= 0x80 | screen[10] & 7
        rest = palette + rest
        # A global palette that is not used, or none.
        palette = bytes(len(palette)) if case.variant % 2 else b""
        if not palette:
            screen[10] &= 0x7F
    return bytes(screen) + palette + blocks + bytes(descriptor) + rest


def _placed(case, **options):
    """The image as the lower right part of a screen of the case's size."""
    left, top = case.width // 3, case.height // 5
    image = Image.fromarray(numpy.ascontiguousarray(numpy.asarray(quantised(case).convert("RGB"))[top:, left:]))
    screen, palette, blocks, descriptor, rest = parts(encode(image.quantize(case.choose(256, 20)), **options))
    screen[6:10] = case.width.to_bytes(2, "little") + case.height.to_bytes(2, "little")
    screen[11] = case.choose(0, 7)
    descriptor[1:5] = left.to_bytes(2, "little") + top.to_bytes(2, "little")
    return bytes(screen) + palette + blocks + bytes(descriptor) + rest


kind("gif/first-frame-smaller")(lambda case: _placed(case, interlace=case.variant // 2 % 2))
kind("gif/first-frame-smaller-transparent")(lambda case: _placed(case, transparency=3))


@kind("gif/first-frame-beyond-screen")
def _beyond(case):
    # Pillow enlarges the screen.
    screen, palette, blocks, descriptor, rest = parts(encode(quantised(case)))
    screen[6:10] = max(case.width // 2, 1).to_bytes(2, "little") + max(case.height - 3, 1).to_bytes(2, "little")
    return bytes(screen) + palette + blocks + bytes(descriptor) + rest
