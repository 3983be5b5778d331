"""JPEG files with EXIF blocks as cameras and editors write them, and with blocks that are wrong."""

import struct

import jpeg
from jpeg_markers import APP1, SOF0, join, parts
from kinds import kind


def block(orientation, order=">", filler=0, form=3, gap=0):
    """An EXIF block: a directory with the orientation in the middle, and `filler` bytes of MakerNote after it. `form`
    is the type of the orientation: 3 is SHORT, the only valid one, 4 is LONG. `gap` bytes are before the directory."""
    text = b"Plimsoll\0"
    entries = [(0x010F, 2, len(text), None), (0x0112, form, 1, orientation), (0x0128, 3, 1, 2)]
    if filler:
        entries.append((0x927C, 7, filler, None))
    data = 8 + gap + 2 + 12 * len(entries) + 4
    directory = struct.pack(order + "H", len(entries))
    for tag, form, count, value in entries:
        directory += struct.pack(order + "HHI", tag, form, count)
        if value is not None:
            directory += struct.pack(order + ("HH" if form == 3 else "I"), *((value, 0) if form == 3 else (value,)))
        else:
            directory += struct.pack(order + "I", data if form == 2 else data + len(text))
    head = (b"MM" if order == ">" else b"II") + struct.pack(order + "HI", 42, 8 + gap) + b"\x01\x12" * (gap // 2)
    return b"Exif\0\0" + head + directory + bytes(4) + text + bytes(index * 7 & 255 for index in range(filler))


@kind("jpeg/exif-big-endian", turns=True)
def _exif_big(case):
    segments, data = parts(case)
    return join([segments[0], (APP1, block(case.orientation, ">")), *segments[1:]], data)


@kind("jpeg/exif-little-endian-before-jfif", turns=True)
def _exif_little(case):
    segments, data = parts(case)
    return join([(APP1, block(case.orientation, "<")), *segments], data)


@kind("jpeg/exif-without-jfif", turns=True)
def _exif_only(case):
    segments, data = parts(case, progressive=case.variant % 2 == 1)
    return join([(APP1, block(case.orientation, case.choose("<", ">"))), *segments[1:]], data)


@kind("jpeg/exif-after-tables", turns=True)
def _exif_late(case):
    segments, data = parts(case)
    at = next(index for index, (marker, _) in enumerate(segments) if marker == SOF0)
    return join([*segments[:at], (APP1, block(case.orientation)), *segments[at:]], data)


@kind("jpeg/exif-of-several-segments", turns=True)
def _exif_split(case):
    # A block of more than 64 KB continues in further segments, each with the prefix of EXIF.
    segments, data = parts(case)
    content = block(case.orientation, case.choose("<", ">"), filler=case.choose(50, 70_000, 140_000))[6:]
    length = 30 if len(content) < 1000 else 65_000
    pieces = [b"Exif\0\0" + content[at : at + length] for at in range(0, len(content), length)]
    return join([segments[0], *((APP1, piece) for piece in pieces), *segments[1:]], data)


@kind("jpeg/exif-before-xmp", turns=True)
def _exif_and_xmp(case):
    segments, data = parts(case)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
    return join([segments[0], (APP1, block(case.orientation)), (APP1, xmp), *segments[1:]], data)


@kind("jpeg/exif-with-thumbnail", turns=True)
def _exif_thumbnail(case):
    # The block contains a complete JPEG.
    segments, data = parts(case)
    small = jpeg.encode(case.rgb()[:16, :16], quality=50)
    return join([segments[0], (APP1, block(case.orientation) + small), *segments[1:]], data)


@kind("jpeg/exif-orientation-of-type-long", turns=True)
def _exif_long(case):
    # Exif requires SHORT; readers take the number.
    segments, data = parts(case)
    return join([(APP1, block(case.orientation, case.choose("<", ">"), form=4)), *segments[1:]], data)


@kind("jpeg/exif-directory-after-other-data", turns=True)
def _exif_gap(case):
    segments, data = parts(case)
    return join([(APP1, block(case.orientation, case.choose("<", ">"), gap=24)), *segments[1:]], data)


@kind("jpeg/exif-orientation-out-of-range")
def _exif_range(case):
    segments, data = parts(case)
    return join([(APP1, block(case.choose(0, 9, 255, 65535))), *segments[1:]], data)


@kind("jpeg/exif-block-cut-short")
def _exif_cut(case):
    # The block ends before its directory, or within it before the orientation.
    segments, data = parts(case)
    return join([(APP1, block(6)[: case.choose(8, 13, 17, 27)]), *segments[1:]], data)
