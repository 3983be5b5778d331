"""JPEG files whose segments are changed after Pillow wrote them, as cameras, scanners, editors and networks do."""

import jpeg
from kinds import kind

SOI, EOI, APP0, APP1, ADOBE, COM, DHT, DQT, DRI, SOF0, SOS = (
    0xD8,
    0xD9,
    0xE0,
    0xE1,
    0xEE,
    0xFE,
    0xC4,
    0xDB,
    0xDD,
    0xC0,
    0xDA,
)


def segment(marker, content):
    """A segment with its length."""
    return b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2, "big") + content


def split(body):
    """The segments before the coded data (marker, content), and the coded data with all that follows it."""
    at, segments = 2, []
    while True:
        marker, length = body[at + 1], int.from_bytes(body[at + 2 : at + 4], "big")
        segments.append((marker, body[at + 4 : at + 2 + length]))
        at += 2 + length
        if marker == SOS:
            return segments, body[at:]


def join(segments, data):
    """The reverse of `split`."""
    return b"\xff\xd8" + b"".join(segment(*it) for it in segments) + data


def parts(case, **options):
    """The segments of a picture without orientation, and its coded data."""
    return split(jpeg.plain(case, exif=b"", **options))


def _adobe(transform):
    return ADOBE, b"Adobe\0\x64\0\0\0\0" + bytes([transform])


@kind("jpeg/jfif-and-adobe")
def _jfif_adobe(case):
    # libjpeg takes the colours from the JFIF marker and ignores the transform.
    segments, data = parts(case)
    return join([segments[0], _adobe(case.choose(0, 1, 2)), *segments[1:]], data)


@kind("jpeg/adobe-and-jfif")
def _adobe_jfif(case):
    segments, data = parts(case, subsampling=case.choose(0, 2))
    return join([_adobe(case.choose(0, 1)), *segments], data)


@kind("jpeg/adobe-ycc")
def _adobe_ycc(case):
    segments, data = parts(case)
    return join([_adobe(1), *segments[1:]], data)


@kind("jpeg/adobe-rgb")
def _adobe_rgb(case):
    # The planes are red, green and blue; the marker and not the identifiers of the components says so.
    segments, data = split(jpeg.plain(case, exif=b"", keep_rgb=True))
    segments = [(marker, content) for marker, content in segments if marker not in (APP0, ADOBE)]
    return join([_adobe(0), *(_with_ids(it, b"\1\2\3") for it in segments)], data)


def _with_ids(it, ids):
    """A segment with other identifiers of components."""
    marker, content = it
    content = bytearray(content)
    if 0xC0 <= marker <= 0xC2:
        content[6::3] = ids
    elif marker == SOS:
        content[1 : 1 + 2 * len(ids) : 2] = ids
    return marker, bytes(content)


def _renamed(ids, jfif, keep_rgb=False):
    def make(case):
        segments, data = parts(case, keep_rgb=keep_rgb, progressive=False)
        segments = [it for it in segments if it[0] not in (APP0, ADOBE)]
        head = [(APP0, b"JFIF\0\1\1\0\0\1\0\1\0\0")] if jfif else []
        return join([*head, *(_with_ids(it, ids) for it in segments)], data)

    return make


kind("jpeg/ids-rgb-with-jfif")(_renamed(b"RGB", True))
kind("jpeg/ids-rgb-without-jfif")(_renamed(b"RGB", False, keep_rgb=True))
kind("jpeg/ids-0-1-2-with-jfif")(_renamed(b"\0\1\2", True))
kind("jpeg/ids-0-1-2-without-jfif")(_renamed(b"\0\1\2", False))
kind("jpeg/ids-ycc-without-jfif")(_renamed(b"YCc", False))
kind("jpeg/no-application-segments")(_renamed(b"\1\2\3", False))


@kind("jpeg/motion-jpeg-without-tables")
def _no_dht(case):
    # A frame of Motion-JPEG has no Huffman tables; those of T.81, annex K.3, apply.
    segments, data = parts(case, subsampling=case.choose(1, 2))
    segments = [it for it in segments if it[0] != DHT]
    if case.variant % 2:
        segments[0] = (APP0, b"AVI1" + bytes(10))
    return join(segments, data)


@kind("jpeg/tables-in-one-segment")
def _merged_tables(case):
    segments, data = parts(case)
    merged = {marker: b"".join(content for kind, content in segments if kind == marker) for marker in (DHT, DQT)}
    rest = [it for it in segments if it[0] not in merged]
    return join([rest[0], *merged.items(), *rest[1:]], data)


@kind("jpeg/tables-after-frame-and-repeated")
def _late_tables(case):
    segments, data = parts(case)
    tables = [it for it in segments if it[0] in (DHT, DQT)]
    return join([*segments[:-1], *reversed(tables), segments[-1]], data)


@kind("jpeg/quantiser-stored-in-16-bits")
def _wide_tables(case):
    segments, data = parts(case)

    def widen(it):
        marker, content = it
        if marker == SOF0:
            # Baseline images have tables of 8 bits (T.81, B.2.4.1).
            return 0xC1, content
        if marker != DQT:
            return it
        tables = [content[at : at + 65] for at in range(0, len(content), 65)]
        return DQT, b"".join(
            bytes([0x10 | it[0]]) + bytes(value for byte in it[1:] for value in (0, byte)) for it in tables
        )

    return join([widen(it) for it in segments], data)


@kind("jpeg/fill-bytes-and-unknown-segments", turns=True)
def _fill(case):
    segments, data = split(jpeg.plain(case))
    body = b"\xff\xd8"
    for marker, content in segments:
        body += b"\xff" * case.choose(1, 3, 8) + segment(marker, content)
        if marker < SOS or marker > 0xDF:
            body += segment(0xE7, b"\xff\xd9\xff\xda unknown \xff") + segment(COM, b"")
    return body + data


@kind("jpeg/restart-interval-of-0")
def _restart_zero(case):
    segments, data = parts(case)
    return join([*segments[:-1], (DRI, b"\0\0"), segments[-1]], data)


@kind("jpeg/bytes-after-the-end", turns=True)
def _trailing(case):
    return jpeg.plain(case) + case.choose(b"\0" * 99, b"\xff\xd8\xff\xe0 another image", b"\n", b"\xff\xd9")
