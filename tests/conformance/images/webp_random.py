"""Lossy WebP files with the settings that libwebp's encoder never writes or rarely, and random data.

The header is written (RFC 6386, section 9): segments, the simple and the normal loop filter with all levels, partitions
and quantisers. All that follows is random: modes, probabilities and coefficients. Random bits are read as modes and
coefficients with the frequencies of their probabilities, so the pictures are not unlike those of an encoder.
"""

import random
import struct


class BoolWriter:
    """The arithmetic encoder of section 7.3, for bits of which 0 and 1 are equally probable."""

    def __init__(self):
        self.out, self.low, self.range, self.count = bytearray(), 0, 255, 24

    def _carry(self):
        at = len(self.out) - 1
        while self.out[at] == 255:
            self.out[at] = 0
            at -= 1
        self.out[at] += 1

    def bit(self, value):
        split = 1 + ((self.range - 1) * 128 >> 8)
        if value:
            self.low += split
            self.range -= split
        else:
            self.range = split
        while self.range < 128:
            self.range <<= 1
            if self.low & 1 << 31:
                self._carry()
            self.low = self.low << 1 & 0xFFFFFFFF
            self.count -= 1
            if self.count == 0:
                self.out.append(self.low >> 24)
                self.low &= 0xFFFFFF
                self.count = 8

    def number(self, value, bits):
        for bit in reversed(range(bits)):
            self.bit(value >> bit & 1)

    def optional(self, value, bits):
        """A number with a sign that may be left out if it is 0."""
        self.bit(value != 0)
        if value:
            self.number(abs(value), bits)
            self.bit(value < 0)


def _segments(bits, source):
    stored = source.random() < 0.8
    bits.bit(stored)
    changed = source.random() < 0.8
    bits.bit(changed)
    if changed:
        absolute = source.random() < 0.5
        bits.bit(absolute)
        for _ in range(4):
            bits.optional(source.randrange(0, 60) if absolute else source.randrange(-20, 21), 7)
        for _ in range(4):
            bits.optional(source.choice([0, source.randrange(0, 64), source.randrange(-63, 64)]), 6)
    for _ in range(3 if stored else 0):
        given = source.random() < 0.8
        bits.bit(given)
        if given:
            bits.number(source.randrange(256), 8)


def _filters(bits, source):
    bits.bit(source.random() < 0.4)
    bits.number(source.choice([0, 1, 5, 14, 15, 39, 40, 63, source.randrange(64)]), 6)
    bits.number(source.choice([0, 0, source.randrange(8)]), 3)
    with_differences = source.random() < 0.5
    bits.bit(with_differences)
    if with_differences:
        changed = source.random() < 0.8
        bits.bit(changed)
        for _ in range(8 if changed else 0):
            bits.optional(source.choice([0, source.randrange(-63, 64), source.randrange(-9, 10)]), 6)


def _file(source):
    width, height = source.randrange(1, 71), source.randrange(1, 71)
    blocks = (width + 15) // 16 * ((height + 15) // 16)
    bits = BoolWriter()
    bits.number(source.randrange(4), 2)
    segmented = source.random() < 0.6
    bits.bit(segmented)
    if segmented:
        _segments(bits, source)
    _filters(bits, source)
    partitions = source.randrange(4)
    bits.number(partitions, 2)
    bits.number(source.choice([0, 5, 20, source.randrange(128)]), 7)
    for _ in range(5):
        bits.optional(source.choice([0, 0, source.randrange(-15, 16)]), 4)
    bits.bit(0)
    for _ in range(8 * (400 + 40 * blocks)):
        bits.bit(source.getrandbits(1))
    first = bytes(bits.out)
    others = [source.randbytes(64 + 900 * blocks) for _ in range(1 << partitions)]
    lengths = b"".join(struct.pack("<I", len(data))[:3] for data in others[:-1])
    head = struct.pack("<I", len(first) << 5 | 1 << 4 | source.randrange(4) << 1)[:3] + b"\x9d\x01\x2a"
    data = head + struct.pack("<HH", width, height) + first + lengths + b"".join(others)
    data += b"\0" * (len(data) % 2)
    body = b"WEBPVP8 " + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def files(count, seed):
    """This number of files."""
    source = random.Random(seed)
    for _ in range(count):
        yield _file(source)
