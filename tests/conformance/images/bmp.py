"""BMP files of all headers and depths that Pillow reads, by a writer of this suite (Microsoft, "Bitmap Storage")."""

import io
import struct

import numpy
from PIL import Image

from kinds import add, kind

RAW, RLE8, RLE4, MASKS = 0, 1, 2, 3


def file(case, bits, data, header=40, compression=RAW, palette=b"", top_down=False, masks=b"", colours=0):
    """A file of rows that are already padded and in file order."""
    height = -case.height if top_down else case.height
    if header == 12:
        info = struct.pack("<IHHHH", 12, case.width, case.height, 1, bits)
    else:
        info = struct.pack(
            "<IiiHHIIiiII", header, case.width, height, 1, bits, compression, len(data), 2835, 2835, colours, 0
        )
        # In longer headers the masks are part of the header. The rest describes a colour space.
        inside = masks if header >= 52 else b""
        info = (info + inside).ljust(header, b"\0")
        masks = b"" if header >= 52 else masks
    start = 14 + len(info) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + info + masks + palette + data


def padded(rows, top_down=False):
    """The rows, padded to multiples of four bytes; the last row first unless `top_down`."""
    ordered = rows if top_down else rows[::-1]
    return b"".join(row + b"\0" * (-len(row) % 4) for row in ordered)


def _deep(bits, header, top_down=False):
    def make(case):
        pixels = case.rgb()[:, :, ::-1]
        if bits == 32:
            # The fourth byte is not alpha without a mask.
            pixels = numpy.dstack([pixels, case.alpha()])
        return file(case, bits, padded([row.tobytes() for row in pixels], top_down), header, top_down=top_down)

    return make


def expanded(channels, widths):
    """RGB bytes of samples of these widths, rounded. Pillow truncates."""
    most = [(1 << width) - 1 for width in widths]
    levels = [(channel * 510 + limit) // (2 * limit) for channel, limit in zip(channels, most)]
    return numpy.dstack(levels).astype(numpy.uint8)


def _packed(masks, header, top_down=False):
    """16 bits per pixel with these widths of red, green and blue."""

    def make(case):
        pixels = case.rgb().astype(numpy.uint32)
        red, green, blue = ((pixels[:, :, channel] >> (8 - masks[channel])) for channel in range(3))
        packed = (red << (masks[1] + masks[2]) | green << masks[2] | blue).astype("<u2")
        places = [(1 << masks[0]) - 1 << (masks[1] + masks[2]), (1 << masks[1]) - 1 << masks[2], (1 << masks[2]) - 1]
        data = padded([row.tobytes() for row in packed], top_down)
        body = file(case, 16, data, header, MASKS, top_down=top_down, masks=struct.pack("<III", *places))
        return body, expanded((red, green, blue), masks)

    return make


def _masks_of_32_bits(order, header):
    """32 bits per pixel; `order` are the bytes of red, green and blue, and of alpha if it has four."""

    def make(case):
        channels = [*numpy.moveaxis(case.rgb(), 2, 0), case.alpha()]
        pixels = numpy.zeros((case.height, case.width, 4), dtype=numpy.uint8)
        for channel, place in enumerate(order):
            pixels[:, :, place] = channels[channel]
        masks = struct.pack(f"<{len(order)}I", *(255 << 8 * place for place in order))
        body = file(case, 32, padded([row.tobytes() for row in pixels]), header, MASKS, masks=masks)
        # Pillow refuses orders that it does not know.
        return body, numpy.dstack(channels[:3])

    return make


def indexed(case, bits):
    """Indices and palette of a picture: rows of indices, and entries of four bytes."""
    image = Image.fromarray(case.rgb()).quantize(min(1 << bits, 256), dither=Image.Dither.NONE)
    entries = numpy.array(image.getpalette(), dtype=numpy.uint8).reshape(-1, 3)[: 1 << bits, ::-1]
    entries = numpy.vstack([entries, numpy.zeros(((1 << bits) - len(entries), 3), dtype=numpy.uint8)])
    return numpy.asarray(image), entries


def _palette(bits, header, top_down=False):
    def make(case):
        indices, entries = indexed(case, bits)
        palette = entries.tobytes() if header == 12 else numpy.pad(entries, ((0, 0), (0, 1))).tobytes()
        flags = (indices[:, :, None] >> numpy.arange(bits - 1, -1, -1)) & 1
        rows = numpy.packbits(flags.reshape(case.height, -1).astype(numpy.uint8), axis=1)
        data = padded([row.tobytes() for row in rows], top_down)
        return file(case, bits, data, header, palette=palette, top_down=top_down)

    return make


def _runs(bits):
    """RLE8 or RLE4: runs, and literal pixels where there are no runs."""

    def make(case):
        indices, entries = indexed(case, bits)
        data = b""
        for row in indices[::-1].tolist():
            at = 0
            while at < len(row):
                run = 1
                while at + run < len(row) and run < 255 and row[at + run] == row[at]:
                    run += 1
                literal = row[at : at + 9]
                if run < 3 and len(literal) == 9:
                    pixels = bytes(literal) if bits == 8 else _nibbles(literal)
                    data += bytes([0, 9]) + pixels + b"\0" * (len(pixels) % 2)
                    at += 9
                else:
                    data += bytes([run, row[at] if bits == 8 else row[at] * 17])
                    at += run
            data += b"\0\0"
        data += b"\0\1"
        palette = numpy.pad(entries, ((0, 0), (0, 1))).tobytes()
        return file(case, bits, data, compression=RLE8 if bits == 8 else RLE4, palette=palette)

    return make


def _nibbles(values):
    values = [*values, 0]
    return bytes(values[at] << 4 | values[at + 1] for at in range(0, len(values) - 1, 2))


for _header in (12, 40, 108, 124):
    add(f"bmp/24-bits-header-{_header}", _deep(24, _header))
    for _bits in (1, 4, 8):
        add(f"bmp/palette-{_bits}-header-{_header}", _palette(_bits, _header))
add("bmp/24-bits-top-down", _deep(24, 40, True))
add("bmp/32-bits", _deep(32, 40))
add("bmp/32-bits-top-down", _deep(32, 40, True))
add("bmp/palette-8-top-down", _palette(8, 40, True))
add("bmp/palette-1-top-down", _palette(1, 40, True))
for _header in (40, 56, 108, 124):
    add(f"bmp/masks-565-header-{_header}", _packed((5, 6, 5), _header))
    add(f"bmp/masks-555-header-{_header}", _packed((5, 5, 5), _header))
add("bmp/masks-565-top-down", _packed((5, 6, 5), 40, True))
add("bmp/masks-bgrx", _masks_of_32_bits((2, 1, 0), 40))
add("bmp/masks-rgbx", _masks_of_32_bits((0, 1, 2), 56))
add("bmp/masks-bgra", _masks_of_32_bits((2, 1, 0, 3), 124))
add("bmp/masks-rgba", _masks_of_32_bits((0, 1, 2, 3), 108))
add("bmp/rle8", _runs(8))
add("bmp/rle4", _runs(4))


@kind("bmp/555-without-masks")
def _plain_555(case):
    pixels = case.rgb().astype(numpy.uint32) >> 3
    packed = (pixels[:, :, 0] << 10 | pixels[:, :, 1] << 5 | pixels[:, :, 2]).astype("<u2")
    body = file(case, 16, padded([row.tobytes() for row in packed]))
    return body, expanded(numpy.moveaxis(pixels, 2, 0), (5, 5, 5))


@kind("bmp/by-pillow")
def _by_pillow(case):
    out = io.BytesIO()
    image = Image.fromarray(case.rgb()).convert(case.choose("RGB", "L", "P", "1", "RGBA"))
    image.save(out, "BMP")
    return out.getvalue()
