"""A writer of plain TIFF files (TIFF 6.0): one page in strips or tiles, in one plane or several, without compression or
with PackBits, Deflate or LZW."""

import struct
import zlib

import numpy

STORED, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
WHITE, BLACK, RGB, PALETTE, INKS, YCBCR = 0, 1, 2, 3, 5, 6
BYTE, SHORT, LONG, RATIONAL, UNDEFINED = 1, 3, 4, 5, 7
# The letters of `struct` for the types; those that are missing have four bytes.
LETTERS = {BYTE: "B", SHORT: "H", UNDEFINED: "B"}
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def packed(samples, bits, order):
    """Rows of samples (height, width, samples per pixel) as bytes, each row from a byte on."""
    flat = samples.reshape(samples.shape[0], -1)
    if samples.dtype.kind == "f":
        return [row.astype(f"{order}f{bits // 8}").tobytes() for row in flat]
    if bits % 8 == 0:
        return [row.astype(f"{order}u{bits // 8}").tobytes() for row in flat]
    flags = (flat[:, :, None].astype(numpy.uint32) >> numpy.arange(bits - 1, -1, -1)) & 1
    return [row.tobytes() for row in numpy.packbits(flags.reshape(len(flat), -1).astype(numpy.uint8), axis=1)]


def packbits(row):
    """A row in PackBits (TIFF 6.0, section 9)."""
    out, at = bytearray(), 0
    while at < len(row):
        run = 1
        while at + run < len(row) and run < 128 and row[at + run] == row[at]:
            run += 1
        if run > 2:
            out += bytes([257 - run, row[at]])
        else:
            run = min(len(row) - at, 9)
            out += bytes([run - 1]) + row[at : at + run]
        at += run
    return bytes(out)


def lzw(data):
    """Bytes as LZW (TIFF 6.0, section 13), without a code for more than one byte: the table is cleared before its codes
    have ten bits."""
    codes = []
    for at in range(0, len(data), 200):
        codes += [256, *data[at : at + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits + "0" * (-len(bits) % 8), 2).to_bytes((len(bits) + 7) // 8, "big")


def chunks(samples, rows, tile, separate):
    """The strips or tiles in file order. Tiles are padded by the last sample."""
    height, width, count = samples.shape
    for plane in [samples[:, :, at : at + 1] for at in range(count)] if separate else [samples]:
        if tile:
            across, down = tile
            plane = numpy.pad(plane, ((0, -height % down), (0, -width % across), (0, 0)), mode="edge")
            for y in range(0, height, down):
                yield from (plane[y : y + down, x : x + across] for x in range(0, width, across))
        else:
            yield from (plane[y : y + rows] for y in range(0, height, rows))


def difference(samples):
    """Differences to the sample to the left (TIFF 6.0, section 14); integers wrap when they are packed."""
    out = samples.astype(numpy.int64)
    out[:, 1:] -= samples[:, :-1].astype(numpy.int64)
    return out


def write(
    samples,
    photometric,
    bits=8,
    order="<",
    compression=STORED,
    rows=None,
    tile=None,
    separate=False,
    orientation=1,
    extra=(),
    predictor=1,
    reversed_bits=False,
    tags=(),
    big=False,
):
    """A file of samples (height, width, samples per pixel). `tags` are (tag, type, values) that replace or follow the
    others."""
    height, width, count = samples.shape
    rows = rows or height
    head, body, offsets, lengths = 16 if big else 8, b"", [], []
    for chunk in chunks(samples, rows, tile, separate):
        lines = packed(difference(chunk) if predictor == 2 else chunk, bits, order)
        if compression == PACKBITS:
            lines = [packbits(line) for line in lines]
        data = b"".join(lines)
        data = zlib.compress(data) if compression == DEFLATE else lzw(data) if compression == LZW else data
        offsets.append(head + len(body))
        lengths.append(len(data))
        body += (data.translate(REVERSED) if reversed_bits else data) + b"\0" * (len(data) % 2)
    entries = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [bits] * count),
        259: (SHORT, [compression]),
        262: (SHORT, [photometric]),
        277: (SHORT, [count]),
        284: (SHORT, [2 if separate else 1]),
    }
    entries |= {322: (SHORT, [tile[0]]), 323: (SHORT, [tile[1]])} if tile else {278: (LONG, [rows])}
    entries |= {324: (LONG, offsets), 325: (LONG, lengths)} if tile else {273: (LONG, offsets), 279: (LONG, lengths)}
    optional = {
        266: (SHORT, [2] if reversed_bits else []),
        274: (SHORT, [orientation] if orientation > 1 else []),
        317: (SHORT, [predictor] if predictor > 1 else []),
        338: (SHORT, list(extra)),
        339: (SHORT, [3] * count if samples.dtype.kind == "f" else []),
    }
    entries |= {tag: it for tag, it in optional.items() if it[1]}
    entries |= {tag: (form, list(values)) for tag, form, values in tags}
    return header(order, big, head + len(body)) + body + directory(entries, order, big, head + len(body))


def header(order, big, first):
    """The header, with the place of the first directory."""
    mark = b"II" if order == "<" else b"MM"
    return mark + (struct.pack(order + "HHHQ", 43, 8, 0, first) if big else struct.pack(order + "HI", 42, first))


def directory(entries, order, big, at):
    """The only directory at this place, and the values that do not fit into it."""
    number, field = ("Q", 8) if big else ("I", 4)
    size = (8 if big else 2) + len(entries) * (20 if big else 12) + field
    out, values = struct.pack(order + ("Q" if big else "H"), len(entries)), b""
    for tag, (form, items) in sorted(entries.items()):
        if form == RATIONAL:
            data = b"".join(struct.pack(order + "II", *item) for item in items)
        else:
            data = struct.pack(f"{order}{len(items)}{LETTERS.get(form, 'I')}", *(int(item) for item in items))
        out += struct.pack(order + "HH" + number, tag, form, len(items))
        if len(data) <= field:
            out += data.ljust(field, b"\0")
        else:
            out += struct.pack(order + number, at + size + len(values))
            values += data + b"\0" * (len(data) % 2)
    return out + bytes(field) + values
