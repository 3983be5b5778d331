"""Damaged WebP files, and what Pillow (libwebp) makes of them.

    python tests/conformance/images/webp_damaged.py OUT [--count N] [--seed S]

`--count` is the number of files with random damage of each kind. Each of the listed structures is one more file, and there
are five times as many files with random settings and data as damaged files of a kind.

OUT/index.tsv has one line per file: `file`, `what`, `width`, `height`. If Pillow refuses the file, both sides are 0;
otherwise FILE.rgb has its pixels. `tests/it/image_damage_webp.rs` runs this program and compares the plugin with it.
"""

import argparse
import io
import random
import struct
from pathlib import Path

import numpy
from PIL import Image
from webp import chunk, encode, three
from webp_codes import files as codes
from webp_random import files as random_files

WIDTH, HEIGHT = 61, 47


def picture(noise, alpha=False):
    """Waves, and noise of this size."""
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH]
    waves = numpy.stack([127 + 120 * numpy.sin(x / (5 + 3 * k) + y / (9 - 2 * k)) for k in range(3)], -1)
    waves = waves + numpy.random.default_rng(noise).normal(0, noise, waves.shape)
    colours = waves.clip(0, 255).astype(numpy.uint8)
    return numpy.dstack([colours, ((3 * x + 2 * y) % 256).astype(numpy.uint8)]) if alpha else colours


def animation():
    """Two lossy frames with alpha."""
    frames = [Image.fromarray(picture(noise, alpha=True)) for noise in (4, 20)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], quality=80)
    return file.getvalue()


def whole_files():
    """The kinds, each with a whole file."""
    for quality in (20, 60, 90, 100):
        for method in (0, 4, 6):
            yield f"lossy-{quality}-{method}", encode(picture(quality // 5), quality=quality, method=method)
    yield "alpha", encode(picture(9, alpha=True), quality=70)
    yield "coarse-alpha", encode(picture(9, alpha=True), quality=70, alpha_quality=20)
    yield "lossless", encode(picture(9), lossless=True)
    yield "lossless-alpha", encode(picture(9, alpha=True), lossless=True, exact=True)
    colours = Image.fromarray(picture(9)).quantize(13).convert("RGB")
    yield "palette", encode(numpy.asarray(colours), lossless=True)
    yield "animation", animation()
    # Small images, whose codes are most of the file.
    for colours in (2, 3, 8, 40):
        source = numpy.random.default_rng(colours)
        palette = source.integers(0, 256, (colours, 3)).astype(numpy.uint8)
        yield f"few-colours-{colours}", encode(palette[source.integers(0, colours, (7, 9))], lossless=True)
    yield "small", encode(numpy.ascontiguousarray(picture(9)[:11, :23]), lossless=True)
    yield from codes()


def damaged(whole, source):
    """The file with changed bits or bytes, with bytes of 0, or without its end."""
    file = bytearray(whole)
    at = source.randrange(12 if source.random() < 0.3 else 30, len(file))
    kind = source.choice(["bit", "bit", "bit", "bytes", "zeros", "end"])
    if kind == "bit":
        file[at] ^= 1 << source.randrange(8)
    elif kind == "end":
        del file[-source.randrange(1, 20) :]
        file[4:8] = struct.pack("<I", len(file) - 8)
    else:
        for place in range(at, min(len(file), at + source.randrange(1, 20))):
            file[place] = source.randrange(256) if kind == "bytes" else 0
    return bytes(file)


def parts(file):
    """The data of the chunks of a file by name; of two with one name, the last."""
    at, found = 12, {}
    while at + 8 <= len(file):
        length = struct.unpack("<I", file[at + 4 : at + 8])[0]
        found[file[at : at + 4].decode()] = file[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return found


def joined(*chunks):
    """A file of these chunks: pairs of a name and data."""
    body = b"".join(chunk(name.encode(), data) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def frame(*chunks, left=0, width=WIDTH):
    """A frame of an animation."""
    head = three(left // 2) + three(0) + three(width - 1) + three(HEIGHT - 1) + three(80) + b"\2"
    return "ANMF", head + joined(*chunks)[12:]


def structures():
    """Files whose chunks are not those of one image, and some that are unusual and right."""
    some = parts(encode(picture(9, alpha=True), quality=80))
    lossy, alpha = ("VP8 ", some["VP8 "]), ("ALPH", some["ALPH"])
    other = ("VP8 ", parts(encode(255 - picture(9), quality=80))["VP8 "])
    lossless = ("VP8L", parts(encode(picture(9), lossless=True))["VP8L"])
    transparent = ("VP8L", parts(encode(picture(9, alpha=True), lossless=True))["VP8L"])

    def extended(flags, more=b""):
        return "VP8X", bytes([flags]) + some["VP8X"][1:] + more

    head, animated, unknown, start = extended(0x10), extended(0x12), ("zzzz", b"abc"), ("ANIM", bytes(6))

    def with_first(data, index, change):
        return data[0], data[1][:index] + bytes([change(data[1][index])]) + data[1][index + 1 :]

    yield "alpha", joined(head, alpha, lossy)
    for bits in (0x10, 0x20, 0x40, 0x80):
        yield f"alpha-with-bits-{bits:02x}", joined(head, with_first(alpha, 0, lambda byte, bits=bits: byte | bits), lossy)
    yield "two-alphas", joined(head, alpha, alpha, lossy)
    yield "two-alphas-without-the-flag", joined(extended(0), alpha, alpha, lossy)
    yield "alpha-after-the-image", joined(head, lossy, alpha)
    yield "alpha-of-a-lossless-image", joined(head, alpha, lossless)
    yield "two-lossy-images", joined(head, lossy, other)
    yield "two-lossy-images-and-alpha", joined(head, alpha, lossy, other)
    yield "lossy-and-lossless", joined(head, lossy, lossless)
    yield "lossless-and-lossy", joined(head, lossless, lossy)
    yield "two-lossless-images", joined(head, lossless, transparent)
    yield "unknown-before", joined(head, unknown, alpha, lossy)
    yield "unknown-between", joined(head, alpha, unknown, lossy)
    yield "unknown-after", joined(head, alpha, lossy, unknown)
    yield "not-extended-alpha-after", joined(lossy, alpha)
    yield "not-extended-two-images", joined(lossy, other)
    yield "not-extended-alpha-first", joined(alpha, lossy)
    yield "two-heads", joined(head, head, alpha, lossy)
    yield "head-at-the-end", joined(head, alpha, lossy, head)
    yield "long-head", joined(extended(0x10, b"1234"), alpha, lossy)
    for flag in (1, 0x40, 0x80):
        yield f"reserved-feature-{flag}", joined(extended(0x10 | flag), alpha, lossy)
    yield "animation", joined(animated, start, frame(alpha, lossy), frame(other))
    yield "animation-two-alphas", joined(animated, start, frame(alpha, alpha, lossy))
    yield "animation-alpha-after", joined(animated, start, frame(lossy, alpha))
    yield "animation-two-images", joined(animated, start, frame(lossy, other))
    yield "animation-unknown-first", joined(animated, start, frame(unknown, lossy))
    yield "animation-unknown-between", joined(animated, start, frame(alpha, unknown, lossy))
    yield "animation-and-image", joined(animated, start, frame(lossy), other)
    yield "image-and-animation", joined(animated, other, start, frame(lossy))
    yield "animation-begins-late", joined(animated, frame(lossy), start)
    yield "animation-never-begins", joined(animated, frame(lossy))
    yield "animation-second-frame-outside", joined(animated, start, frame(lossy), frame(other, left=2))
    yield "animation-wrong-size", joined(animated, start, frame(lossy, width=WIDTH - 1))
    yield "animation-without-the-flag", joined(head, start, frame(lossy), other)
    for name, change in (("compression", 2), ("preprocessing", 0x20), ("reserved", 0x40)):
        of_alpha = with_first(alpha, 0, lambda byte: byte & 0xC if change == 2 else byte & 0xF)
        yield f"alpha-{name}", joined(head, with_first(of_alpha, 0, lambda byte: byte | change), lossy)
    yield "alpha-too-short", joined(head, ("ALPH", bytes(100)), lossy)
    yield "alpha-empty", joined(head, ("ALPH", b""), lossy)
    yield "not-shown", joined(with_first(lossy, 0, lambda byte: byte & ~0x10))
    for version in range(1, 8):
        yield f"version-{version}", joined(with_first(lossy, 0, lambda byte: byte & ~0xE | version << 1))
    yield "lossless-version", joined(with_first(lossless, 4, lambda byte: byte | 0x20))
    yield "scaled", joined(with_first(lossy, 7, lambda byte: byte | 0x40))
    # Of one colour, almost nothing is in the second partition, that of the coefficients. libwebp does not read such a file
    # without it, even if no bit is needed. The byte that makes the length even counts as a part of it.
    for level in (0, 128):
        for side in (16, 40):
            plain = parts(encode(numpy.full((side, side, 3), level, numpy.uint8), quality=80))["VP8 "]
            head_bits = int.from_bytes(plain[:3], "little")
            begin = 10 + (head_bits >> 5)
            for length in range(len(plain) - begin):
                yield f"partition-of-{length}-bytes-{level}-{side}", joined(("VP8 ", plain[: begin + length]))
            # The first partition has one more byte.
            longer = (head_bits + (1 << 5)).to_bytes(3, "little") + plain[3:begin] + b"\0"
            yield f"partition-empty-{level}-{side}", joined(("VP8 ", longer))
    for name, whole in (("", joined(lossy)), ("extended-", joined(head, alpha, lossy))):
        for more in (0, 3, 4, 8):
            # Bytes after the last chunk that belong to the file, and some that do not.
            length = struct.pack("<I", len(whole) - 8 + more)
            yield f"{name}{more}-bytes-more", whole[:4] + length + whole[8:] + bytes(max(more, 2))
        yield f"{name}too-short", whole[:4] + struct.pack("<I", len(whole) - 28) + whole[8:]


def main():
    parser = argparse.ArgumentParser(prog="webp_damaged", description=__doc__.partition("\n\n")[0])
    parser.add_argument("out", type=Path, help="the folder to write to")
    parser.add_argument("--count", type=int, default=20, help="the files of each kind (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the damage (default %(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    source = random.Random(arguments.seed)
    files = [(f"structure {name}", file) for name, file in structures()]
    files.extend(("random settings", file) for file in random_files(5 * arguments.count, arguments.seed))
    for kind, whole in whole_files():
        files.append((f"{kind} whole", whole))
        files.extend((f"{kind} damaged", damaged(whole, source)) for _ in range(arguments.count))
    lines = ["\t".join(("file", "what", "width", "height"))]
    for number, (what, file) in enumerate(files):
        name = f"{number:05}.webp"
        (arguments.out / name).write_bytes(file)
        try:
            image = Image.open(io.BytesIO(file))
            image.load()
            (arguments.out / f"{name}.rgb").write_bytes(image.convert("RGB").tobytes())
            size = image.size
        # Pillow has many errors for broken files, and SyntaxError is one of them.
        except Exception:
            size = (0, 0)
        lines.append("\t".join(map(str, (name, what, *size))))
    (arguments.out / "index.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
