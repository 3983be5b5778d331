"""PNG files of all colour types, depths, filters and interlacing, by a writer of this suite (PNG 1.3) and by Pillow."""

import io
import struct
import zlib

import numpy
from PIL import Image

from jpeg import exif
from kinds import add, kind

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
# The passes of Adam7: the first column and row, and the steps (PNG, 8.2).
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(name, content):
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def rows(samples, depth):
    """Rows of packed samples, from samples (height, width, samples per pixel)."""
    height = samples.shape[0]
    flat = samples.reshape(height, -1)
    if depth == 16:
        return [row.astype(">u2").tobytes() for row in flat]
    if depth == 8:
        return [row.astype(numpy.uint8).tobytes() for row in flat]
    bits = (flat[:, :, None] >> numpy.arange(depth - 1, -1, -1)) & 1
    return [row.tobytes() for row in numpy.packbits(bits.reshape(height, -1).astype(numpy.uint8), axis=1)]


def filtered(lines, step, kind):
    """The rows with a filter each (PNG, 9.2): always the same, or the number of the row modulo 5 if `kind` is None."""
    out, above = b"", None
    for index, line in enumerate(lines):
        use = index % 5 if kind is None else kind
        this = numpy.frombuffer(line, numpy.uint8).astype(numpy.int32)
        up = numpy.zeros_like(this) if above is None else above
        left, corner = (numpy.concatenate([numpy.zeros(min(step, len(it)), it.dtype), it[:-step]]) for it in (this, up))
        distance = [abs(left + up - corner - it) for it in (left, up, corner)]
        nearest = numpy.where(distance[1] <= distance[2], up, corner)
        paeth = numpy.where((distance[0] <= distance[1]) & (distance[0] <= distance[2]), left, nearest)
        predicted = (0, left, up, (left + up) // 2, paeth)[use]
        out += bytes([use]) + ((this - predicted) & 255).astype(numpy.uint8).tobytes()
        above = this
    return out


def write(samples, colour, depth, interlaced=False, use=None, before=b"", parts=1):
    """A PNG. `before` are chunks before the data, which is spread over `parts` chunks."""
    height, width = samples.shape[:2]
    step = max(1, SAMPLES[colour] * depth // 8)
    images = [samples]
    if interlaced:
        images = [samples[y::down, x::across] for x, y, across, down in PASSES]
    # A pass without pixels is missing from the data.
    data = b"".join(filtered(rows(it, depth), step, use) for it in images if it.size)
    data = zlib.compress(data, 6)
    length = -(-len(data) // parts)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before
    body += b"".join(chunk(b"IDAT", data[at : at + length]) for at in range(0, len(data), length))
    return body + chunk(b"IEND", b"")


def exif_chunk(orientation):
    """The eXIf chunk of an orientation, which has no prefix."""
    block = exif(orientation).removeprefix(b"Exif\0\0")
    return chunk(b"eXIf", block) if block else b""


def wide(case, count):
    """Samples of 16 bits for a picture, with noise in the low bits."""
    plane = {1: lambda: case.gray()[:, :, None], 3: case.rgb}[count]()
    high = plane.astype(numpy.int32) * 257
    return (high + case.random.integers(-128, 129, size=high.shape)).clip(0, 65535)


def narrowed(samples):
    """RGB bytes of samples of 16 bits, rounded."""
    narrow = ((samples + 128) // 257).astype(numpy.uint8)
    return narrow.repeat(3, axis=2) if narrow.shape[2] == 1 else narrow


def _grays(depth, interlaced):
    def make(case):
        transparent = chunk(b"tRNS", b"\0\1") if case.variant % 2 else b""
        before = exif_chunk(case.orientation) + transparent
        if depth == 16:
            samples = wide(case, 1)
            return write(samples, GRAY, 16, interlaced, before=before), narrowed(samples)
        samples = case.gray()[:, :, None] >> (8 - depth)
        return write(samples, GRAY, depth, interlaced, before=before)

    return make


def _colours(depth, interlaced, with_alpha):
    def make(case):
        before = exif_chunk(case.orientation)
        colour = RGBA if with_alpha else RGB
        if not with_alpha and case.variant % 2:
            before += chunk(b"tRNS", bytes(6))
        samples = wide(case, 3) if depth == 16 else case.rgb().astype(numpy.int32)
        stored = samples
        if with_alpha:
            stored = numpy.dstack([samples, case.alpha().astype(numpy.int32) * (257 if depth == 16 else 1)])
        body = write(stored, colour, depth, interlaced, before=before, parts=case.choose(1, 3))
        return (body, narrowed(samples)) if depth == 16 else body

    return make


def _gray_alpha(depth, interlaced):
    def make(case):
        samples = wide(case, 1) if depth == 16 else case.gray()[:, :, None].astype(numpy.int32)
        stored = numpy.dstack([samples, case.alpha().astype(numpy.int32) * (257 if depth == 16 else 1)])
        body = write(stored, GRAY_ALPHA, depth, interlaced, before=exif_chunk(case.orientation))
        return (body, narrowed(samples)) if depth == 16 else body

    return make


def _palette(depth, interlaced, with_alpha):
    def make(case):
        count = case.choose(1 << depth, max(2, (1 << depth) * 3 // 4))
        colours = min(count, 256)
        image = Image.fromarray(case.rgb()).quantize(colours, dither=Image.Dither.NONE)
        entries = bytes(image.getpalette()[: 3 * colours]).ljust(3 * colours, b"\0")
        before = exif_chunk(case.orientation) + chunk(b"PLTE", entries)
        if with_alpha:
            before += chunk(b"tRNS", bytes(range(0, 250, 250 // min(colours, 25)))[: colours // 2 or 1])
        return write(numpy.asarray(image)[:, :, None], PALETTE, depth, interlaced, before=before)

    return make


for _interlaced in (False, True):
    _end = "-interlaced" if _interlaced else ""
    for _depth in (1, 2, 4, 8, 16):
        add(f"png/gray-{_depth}{_end}", _grays(_depth, _interlaced), turns=True)
    for _depth in (8, 16):
        add(f"png/rgb-{_depth}{_end}", _colours(_depth, _interlaced, False), turns=True)
        add(f"png/rgba-{_depth}{_end}", _colours(_depth, _interlaced, True), turns=True)
        add(f"png/gray-alpha-{_depth}{_end}", _gray_alpha(_depth, _interlaced), turns=True)
    for _depth in (1, 2, 4, 8):
        add(f"png/palette-{_depth}{_end}", _palette(_depth, _interlaced, False), turns=True)
        add(f"png/palette-{_depth}-alpha{_end}", _palette(_depth, _interlaced, True), turns=True)


@kind("png/each-filter")
def _each_filter(case):
    return write(case.rgb().astype(numpy.int32), RGB, 8, use=case.variant % 5)


@kind("png/many-small-chunks")
def _small_chunks(case):
    return write(case.rgb().astype(numpy.int32), RGB, 8, parts=200)


@kind("png/other-chunks", turns=True)
def _other_chunks(case):
    # Chunks that change nothing here: Pillow and the plugin ignore profiles and gamma.
    before = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"sRGB", b"\0") + chunk(b"pHYs", bytes(9))
    before += chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>") + chunk(b"bKGD", bytes(6)) + chunk(b"prVt", b"private")
    return write(case.rgb().astype(numpy.int32), RGB, 8, before=before + exif_chunk(case.orientation))


@kind("png/animated")
def _animated(case):
    file, others = io.BytesIO(), [Image.fromarray(case.rgb()) for _ in range(2)]
    Image.fromarray(case.rgb()).save(file, "PNG", save_all=True, append_images=others, duration=40)
    return file.getvalue()


@kind("png/by-pillow", turns=True)
def _by_pillow(case):
    file = io.BytesIO()
    Image.fromarray(case.rgb()).save(file, "PNG", optimize=case.variant % 2 == 1, exif=exif(case.orientation))
    return file.getvalue()
