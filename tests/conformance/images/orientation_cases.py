"""The blocks of metadata and the files whose orientation is stored in unusual ways."""

import struct
import zlib

from orientation_tools import (
    BASES, KEYWORD, NAMES, TAG, appended, chunk, compressed, directory, entry, international, jpeg, png, profile, text,
    tiff, twice, webp,
)  # fmt: skip


def blocks():
    """What is unusual about a block, and the block."""
    for order, name in ("<", "little-endian"), (">", "big-endian"):
        for kind, title in NAMES.items():
            for count in range(4):
                values = [6, 3, 8][:count]
                block = directory(order, [entry(order, kind, values)])
                yield f"{title} x {count}, {name}", block
        one = lambda *values, kind=3, order=order: directory(order, [entry(order, kind, list(values))])
        for kind, value in (
            (3, 0), (3, 9), (3, 262), (3, 65535), (4, 65542), (4, 2**32 - 1), (6, -6), (8, -2), (9, -6), (11, 6.5),
            (11, 5.9999995), (11, float("nan")), (11, float("inf")), (12, 6.0000001), (5, (12, 2)), (5, (13, 2)),
            (5, (6, 0)), (5, (0, 0)), (10, (-12, -2)), (10, (12, -2)),
        ):  # fmt: skip
            yield f"{NAMES[kind]} {value}, {name}", one(value, kind=kind)
        six, eight = entry(order, 3, [6]), entry(order, 3, [8])
        far = (0x010F, 2, 20, struct.pack(order + "L", 100_000))
        huge = (0x010F, 2, 2**31, struct.pack(order + "L", 8))
        below = (0x010F, 2, 30, struct.pack(order + "L", 8))
        for what, entries in (
            ("two entries", [six, eight]),
            ("an entry without values, then one", [(TAG, 3, 0, b""), six]),
            ("an entry of an unknown type, then one", [(TAG, 99, 1, b"\x08\0"), six]),
            ("BYTE, then SHORT", [entry(order, 1, [8]), six]),
            ("before it, values that are not in the file", [far, six]),
            ("before it, more values than the file has", [huge, six]),
            ("after it, values that are not in the file", [six, far]),
            ("before it, values that overlap", [below, below, below, six]),
            ("its values are not in the file", [(TAG, 3, 3, struct.pack(order + "L", 100_000))]),
            ("its values are not in the file, then one", [(TAG, 3, 3, struct.pack(order + "L", 100_000)), six]),
            ("its values are cut, then one", [(TAG, 3, 3, struct.pack(order + "L", 34)), six]),
        ):
            yield f"{what}, {name}", directory(order, entries)
        block = directory(order, [six])
        mixed = b"\0\x2a" if order == "<" else b"\x2a\0"
        mixed_big = b"\0\x2b" if order == "<" else b"\x2b\0"
        yield f"magic of the other order, {name}", directory(order, [six], magic=mixed)
        yield f"magic of BigTIFF in the other order, {name}", directory(order, [six], magic=mixed_big)
        yield f"wrong magic, {name}", directory(order, [six], magic=b"\x2c\x2c")
        yield f"BigTIFF, {name}", directory(order, [six], big=True)
        yield f"a directory far behind, {name}", directory(order, [six], at=70)
        yield f"a directory at 9, {name}", directory(order, [six], at=9)
        yield f"more entries declared, {name}", directory(order, [six], count=3)
        yield f"fewer entries declared, {name}", directory(order, [far, six], count=1)
        yield f"no next directory, {name}", block[:-4]
        yield f"cut in its value, {name}", block[:20]
        yield f"cut after its value, {name}", block[:22]
        yield f"cut before its value, {name}", block[:18]
        yield f"only a header, {name}", block[:8]
        yield f"half a header, {name}", block[:5]
        yield f"a second prefix, {name}", b"Exif\0\0" + block
        yield f"a third prefix, {name}", b"Exif\0\0Exif\0\0" + block
    yield "empty", b""
    yield "one byte", b"M"
    yield "text", b"no EXIF at all, but text"


def files():
    """What is unusual about a file, and the file."""
    block, other = directory(">", [entry(">", 3, [6])]), directory("<", [entry("<", 3, [8])])
    prefixed = b"Exif\0\0" + block
    silent = directory(">", [entry(">", 3, [72], tag=0x0100)])
    exif, raw = chunk(b"eXIf", block), b"Raw profile type exif"
    packet = lambda value: b'<x tiff:Orientation="%d"/>' % value
    xmp = text(KEYWORD, packet(3))
    for what, before, after in (
        ("Raw profile type exif in tEXt", text(raw, profile(prefixed)), b""),
        ("Raw profile type exif in zTXt", compressed(raw, profile(prefixed)), b""),
        ("Raw profile type exif in iTXt", international(raw, profile(prefixed)), b""),
        ("Raw profile type exif in compressed iTXt", international(raw, profile(prefixed), 1), b""),
        ("Raw profile type exif after the image", b"", compressed(raw, profile(prefixed))),
        ("Raw profile type exif without prefix", text(raw, profile(block)), b""),
        ("Raw profile type exif of one line", text(raw, b"\nexif\n%8d\n" % len(block) + block.hex().encode()), b""),
        ("Raw profile type exif in capitals", text(raw, profile(prefixed).upper()), b""),
        ("Raw profile type exif with spaces", text(raw, b"\n\n\n4d 4d\t00 2a\r\n" + block[4:].hex(" ").encode()), b""),
        ("Raw profile type exif with odd digits", text(raw, profile(prefixed)[:-2]), b""),
        ("Raw profile type exif with a split digit", text(raw, b"\n\n\n4\n" + block.hex()[1:].encode()), b""),
        ("Raw profile type exif with a digit and a space", text(raw, b"\n\n\n4 " + block.hex()[1:].encode()), b""),
        ("Raw profile type exif with another letter", text(raw, profile(prefixed).replace(b"4d", b"4g")), b""),
        ("Raw profile type exif without lines", text(raw, b""), b""),
        ("Raw profile type exif without digits, and XMP", text(raw, b"\nexif\n       0\n") + xmp, b""),
        ("Raw profile type exif with another letter, and XMP", text(raw, b"\nexif\n2\nzz\n") + xmp, b""),
        ("Raw profile type exif without orientation, and XMP", text(raw, profile(silent)) + xmp, b""),
        ("Raw profile type exif and XMP", text(raw, profile(prefixed)) + xmp, b""),
        ("Raw profile type exif and eXIf", text(raw, profile(other)) + exif, b""),
        ("eXIf and Raw profile type exif", exif, text(raw, profile(other))),
        ("Raw profile type exif and eXIf without orientation", text(raw, profile(other)) + chunk(b"eXIf", silent), b""),
        ("Raw profile type exif twice", text(raw, profile(other)) + text(raw, profile(prefixed)), b""),
        ("Raw profile type APP1", text(b"Raw profile type APP1", profile(prefixed, b"APP1")), b""),
        ("Raw profile type xmp", text(b"Raw profile type xmp", profile(packet(6), b"xmp")), b""),
        ("Raw profile type EXIF", text(b"Raw profile type EXIF", profile(prefixed)), b""),
        ("exif in tEXt", text(b"exif", block), b""),
        ("exif in tEXt and eXIf", text(b"exif", other) + exif, b""),
        ("eXIf and exif in tEXt", chunk(b"eXIf", other) + text(b"exif", block), b""),
        ("Exif in tEXt", text(b"Exif", block), b""),
        ("exif in zTXt", compressed(b"exif", block), b""),
        ("exif in iTXt", international(b"exif", block), b""),
        ("two eXIf", chunk(b"eXIf", other) + exif, b""),
        ("eXIf before and after", chunk(b"eXIf", other), exif),
        ("eXIf with prefix", chunk(b"eXIf", prefixed), b""),
        ("eXIf with two prefixes", chunk(b"eXIf", b"Exif\0\0" + prefixed), b""),
        ("XMP in tEXt", text(KEYWORD, packet(6)), b""),
        ("XMP in zTXt", compressed(KEYWORD, packet(6)), b""),
        ("XMP in iTXt", international(KEYWORD, packet(6)), b""),
        ("XMP in compressed iTXt", international(KEYWORD, packet(6), 1), b""),
        ("XMP in iTXt with a language", international(KEYWORD, packet(6), 0, b"en", b"XMP"), b""),
        ("XMP in compressed iTXt of an unknown method", international(KEYWORD, packet(6), 1, method=1), b""),
        ("XMP in iTXt of an unknown method", international(KEYWORD, packet(6), 0, method=1), b""),
        ("XMP in iTXt with flag 2", international(KEYWORD, packet(6), 2), b""),
        ("XMP in zTXt of an unknown method", compressed(KEYWORD, packet(6), 1), b""),
        ("XMP after the image", b"", international(KEYWORD, packet(6))),
        ("XMP in tEXt, then in iTXt", text(KEYWORD, packet(8)) + international(KEYWORD, packet(6)), b""),
        ("XMP in iTXt, then in tEXt", international(KEYWORD, packet(8)) + text(KEYWORD, packet(6)), b""),
        ("XMP in iTXt, then empty in tEXt", international(KEYWORD, packet(6)) + text(KEYWORD, b""), b""),
        ("XMP in iTXt, then without orientation", international(KEYWORD, packet(6)) + text(KEYWORD, b"<x/>"), b""),
        ("XMP in iTXt that is not UTF-8", international(KEYWORD, packet(6) + b"\xff"), b""),
        ("XMP in tEXt, then in iTXt that is not UTF-8",
         text(KEYWORD, packet(6)) + international(KEYWORD, packet(8) + b"\xff"), b""),
        ("XMP in iTXt with a language that is not UTF-8", international(KEYWORD, packet(6), 0, b"\xff"), b""),
        ("XMP in zTXt that is cut", chunk(b"zTXt", KEYWORD + b"\0\0" + zlib.compress(packet(6) * 50, 0)[:-200]), b""),
        ("XMP in zTXt that is damaged", chunk(b"zTXt", KEYWORD + b"\0\0" + b"\xff" * 30), b""),
        ("XMP in iTXt, then damaged in zTXt",
         international(KEYWORD, packet(6)) + chunk(b"zTXt", KEYWORD + b"\0\0" + b"\xff" * 30), b""),
        ("XMP in tEXt, then damaged in iTXt",
         text(KEYWORD, packet(6)) + chunk(b"iTXt", KEYWORD + b"\0\1\0\0\0" + b"\xff" * 30), b""),
        ("XMP in zTXt without data", chunk(b"zTXt", KEYWORD + b"\0"), b""),
        ("XMP in iTXt without data", chunk(b"iTXt", KEYWORD + b"\0\0\0"), b""),
        ("XMP of more than 1 MiB", compressed(KEYWORD, b" " * (1 << 20) + packet(6)), b""),
        ("xmp in tEXt", text(b"xmp", packet(6)), b""),
        ("xmp in iTXt", international(b"xmp", packet(6)), b""),
        ("XMP element", text(KEYWORD, b"<tiff:Orientation>6</tiff:Orientation>"), b""),
        ("XMP in single quotes", text(KEYWORD, b"<x tiff:Orientation='6'/>"), b""),
        ("XMP of two digits", text(KEYWORD, b'<x tiff:Orientation="62"/>'), b""),
        ("XMP with a space", text(KEYWORD, b'<x tiff:Orientation= "6"/>'), b""),
        ("XMP of UTF-16", text(KEYWORD, packet(6).decode().encode("utf-16")), b""),
        ("XMP and eXIf of BYTE", xmp + chunk(b"eXIf", directory(">", [entry(">", 1, [6])])), b""),
    ):
        yield "png", what, png(before, after)

    for what, body in (
        ("EXIF", webp(block, None)),
        ("EXIF with prefix", webp(prefixed, None)),
        ("EXIF and XMP without the flag of EXIF", webp(block, flags=4)),
        ("EXIF without flags", webp(block, flags=0)),
        ("EXIF and XMP without the flag of XMP", webp(silent, flags=8)),
        ("EXIF before the image", webp(block, None, first=True)),
        ("XMP before the image", webp(None, first=True)),
        ("EXIF that is empty", webp(b"")),
        ("EXIF twice", appended(webp(block, None), other)),
        ("EXIF after a file without features", appended(BASES["webp"], block)),
        ("EXIF after the length of the file", webp(None, None, flags=8) + b"EXIF" + struct.pack("<L", len(block)) + block),
    ):  # fmt: skip
        yield "webp", what, body

    for what, body in (
        ("JPEG with two EXIF segments", twice(prefixed, b"Exif\0\0" + other)),
        ("JPEG with an empty EXIF segment and one", twice(b"Exif\0\0", prefixed)),
        ("JPEG with EXIF in two parts", twice(prefixed[:20], b"Exif\0\0" + prefixed[20:])),
        ("JPEG with EXIF without prefix", jpeg(block)),
        ("JPEG with a prefix of one zero", jpeg(b"Exif\0" + block)),
        ("JPEG with two XMP segments", twice(None, None)),
    ):
        yield "jpeg", what, body

    for order, name in ("<", "little-endian"), (">", "big-endian"):
        for big in (False, True):
            if big and order == ">":
                continue  # Pillow does not read it.
            form = "BigTIFF" if big else "TIFF"
            for kind, title in NAMES.items():
                for count in (1, 3) if big else (0, 1, 3):
                    orientation = entry(order, kind, [6, 3, 8][:count])
                    yield "tiff", f"{form}, {title} x {count}, {name}", tiff(order, [orientation], big=big)
            for kind, value in ((3, 0), (3, 9), (4, 65542), (9, -6), (11, 6.5), (5, (12, 2)), (5, (6, 0))):
                title = f"{form}, {NAMES[kind]} {value}, {name}"
                yield "tiff", title, tiff(order, [entry(order, kind, [value])], big=big)
            six = entry(order, 3, [6])
            yield "tiff", f"{form}, no orientation, {name}", tiff(order, [], big=big)
            yield "tiff", f"{form}, the last entry, {name}", tiff(order, [six], big=big, late=True)
            yield "tiff", f"{form}, two, {name}", tiff(order, [six, entry(order, 3, [8])], big=big)
            yield "tiff", f"{form}, unknown type and one, {name}", tiff(order, [(TAG, 99, 1, b"\x08\0"), six], big=big)
