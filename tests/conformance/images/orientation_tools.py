"""Writes metadata that states an orientation, and the images that carry it."""

import io
import struct
import zlib

import numpy
from PIL import Image

TAG = 0x0112
NAMES = {
    1: "BYTE", 2: "ASCII", 3: "SHORT", 4: "LONG", 5: "RATIONAL", 6: "SBYTE", 7: "UNDEFINED", 8: "SSHORT", 9: "SLONG",
    10: "SRATIONAL", 11: "FLOAT", 12: "DOUBLE", 13: "IFD", 14: "14", 16: "LONG8", 17: "SLONG8", 18: "IFD8",
}  # fmt: skip
CODES = {1: "B", 3: "H", 4: "L", 6: "b", 7: "B", 8: "h", 9: "l", 11: "f", 12: "d", 13: "L", 16: "Q", 17: "q", 18: "Q"}
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
KEYWORD = b"XML:com.adobe.xmp"

# Pixels that no orientation maps to themselves; in a JPEG, each of them is a block.
PIXELS = numpy.array([[20, 90, 160], [230, 55, 125]], "uint8")
BLOCKS = numpy.kron(PIXELS, numpy.ones((8, 8), "uint8"))


def data(order, kind, values):
    """Values of a type."""
    if kind == 2:
        return b"".join(b"%d" % value for value in values)
    if kind in (5, 10):
        pairs = [value if isinstance(value, tuple) else (value, 1) for value in values]
        return b"".join(struct.pack(order + ("LL" if kind == 5 else "ll"), *pair) for pair in pairs)
    return b"".join(struct.pack(order + CODES.get(kind, "H"), value) for value in values)


def entry(order, kind, values, tag=TAG, count=None):
    """An entry of a directory: tag, type, number of values, and their bytes."""
    return tag, kind, len(values) if count is None else count, data(order, kind, values)


def directory(order, entries, *, big=False, at=8, magic=None, count=None):
    """A TIFF header and one directory, which begins at `at`; the values that do not fit follow it."""
    size, word = (20, "Q") if big else (12, "L")
    magic = magic or struct.pack(order + "H", 43 if big else 42)
    head = (b"II" if order == "<" else b"MM") + magic
    head += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "L", at)
    at = 16 if big else at
    first = at + (8 if big else 2) + size * len(entries) + (8 if big else 4)
    body, rest = b"", b""
    for tag, kind, number, values in entries:
        width = 8 if big else 4
        field = values.ljust(width, b"\0")
        if len(values) > width:
            field = struct.pack(order + word, first + len(rest))
            rest += values + b"\0" * (len(values) % 2)
        body += struct.pack(order + "HH" + word, tag, kind, number) + field
    number = struct.pack(order + ("Q" if big else "H"), len(entries) if count is None else count)
    return head.ljust(at, b"\0") + number + body + struct.pack(order + word, 0) + rest


def chunk(name, content):
    """A chunk of a PNG."""
    return struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))


def saved(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(BLOCKS if kind == "JPEG" else PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


BASES = {"jpeg": saved("JPEG", quality=90), "png": saved("PNG"), "webp": saved("WEBP", lossless=True)}


def jpeg(exif=None, xmp=XMP):
    """A JPEG with an EXIF block, which begins with its prefix, and XMP."""
    segments = b""
    for content in (exif, xmp and b"http://ns.adobe.com/xap/1.0/\0" + xmp):
        if content is not None:
            segments += b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    return BASES["jpeg"][:2] + segments + BASES["jpeg"][2:]


def png(before=b"", after=b""):
    """A PNG with more chunks before and after the image."""
    base = BASES["png"]
    return base[:33] + before + base[33:-12] + after + base[-12:]


def webp(exif=None, xmp=XMP, *, flags=None, first=False):
    """A WebP with a header of features, and the chunks before or after the image."""
    image = BASES["webp"][12:]
    chunks = b""
    for name, content in ((b"EXIF", exif), (b"XMP ", xmp)):
        if content is not None:
            chunks += name + struct.pack("<L", len(content)) + content + b"\0" * (len(content) % 2)
    if flags is None:
        flags = (8 if exif is not None else 0) | (4 if xmp is not None else 0)
    height, width = PIXELS.shape
    features = b"VP8X" + struct.pack("<LL", 10, flags) + struct.pack("<L", width - 1)[:3]
    features += struct.pack("<L", height - 1)[:3]
    content = b"WEBP" + features + (chunks + image if first else image + chunks)
    return b"RIFF" + struct.pack("<L", len(content)) + content


def tiff(order, orientation, *, big=False, late=False, xmp=True):
    """A TIFF of one strip with more entries; XMP, if it has it, says 3."""
    height, width = PIXELS.shape
    pixels = PIXELS.tobytes()
    entries = [(256, [width]), (257, [height]), (258, [8]), (259, [1]), (262, [1]), (277, [1]), (278, [height])]
    entries = [entry(order, 3, values, tag) for tag, values in entries]
    entries += [entry(order, 4, [0], 273), entry(order, 4, [len(pixels)], 279)]
    entries += [(700, 1, len(XMP), XMP)] if xmp else []
    entries = sorted(entries + orientation, key=lambda it: it[0] if not late else (it[0] == TAG, it[0]))
    offset = len(directory(order, entries, big=big))
    place = next(index for index, it in enumerate(entries) if it[0] == 273)
    entries[place] = entry(order, 4, [offset], 273)
    return directory(order, entries, big=big) + pixels


def profile(block, name=b"exif"):
    """A block in the text form of ImageMagick."""
    digits = block.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return b"\n%s\n%8d\n%s\n" % (name, len(block), lines.encode())


def text(keyword, content):
    return chunk(b"tEXt", keyword + b"\0" + content)


def compressed(keyword, content, method=0):
    return chunk(b"zTXt", keyword + b"\0" + bytes([method]) + zlib.compress(content))


def international(keyword, content, packed=0, language=b"", translated=b"", method=0):
    content = zlib.compress(content) if packed else content
    head = keyword + b"\0" + bytes([packed, method]) + language + b"\0" + translated + b"\0"
    return chunk(b"iTXt", head + content)


def appended(body, block):
    """A WebP with one more EXIF chunk at its end."""
    content = body[8:] + b"EXIF" + struct.pack("<L", len(block)) + block
    return b"RIFF" + struct.pack("<L", len(content)) + content


def twice(first, second):
    """Two EXIF segments, or two XMP segments that say 8 and 6."""
    if first is None:
        body = jpeg(None, b'<x tiff:Orientation="6"/>')
        return jpeg(None, b'<x tiff:Orientation="8"/>')[: -len(BASES["jpeg"]) + 2] + body[2:]
    return jpeg(first, None)[: -len(BASES["jpeg"]) + 2] + jpeg(second, None)[2:]
