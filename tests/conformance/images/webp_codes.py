"""Small lossless WebP files whose prefix codes, predictors and colour caches are valid, but never written by libwebp."""

import struct


class Writer:
    """Bits, beginning with the lowest bit of a byte."""

    def __init__(self, width, height):
        self.bits = []
        self.put(0x2F, 8).put(width - 1, 14).put(height - 1, 14).put(0, 4)

    def put(self, value, count):
        self.bits += [value >> bit & 1 for bit in range(count)]
        return self

    def code(self, *symbols):
        """A prefix code of one symbol or of two."""
        self.put(1, 1).put(len(symbols) - 1, 1).put(1, 1)
        for symbol in symbols:
            self.put(symbol, 8)
        return self

    def file(self):
        """The whole file, with a few bytes after the image."""
        bits = self.bits + [0] * (-len(self.bits) % 16 + 32)
        data = bytes(sum(bits[at + bit] << bit for bit in range(8)) for at in range(0, len(bits), 8))
        body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
        return b"RIFF" + struct.pack("<I", len(body)) + body


def symbols(*green):
    """An image of 4 x 2 pixels whose green has these symbols."""
    image = Writer(4, 2).put(0, 3).code(*green)
    return image.code(0).code(0).code(255).code(0).put(0b10010110, 8).file()


def predictor(number):
    """An image of 4 x 4 pixels with this predictor."""
    image = Writer(4, 4).put(1, 1).put(0, 2).put(0, 3).put(0, 1)
    image.code(number).code(0).code(0).code(255).code(0)
    image.put(0, 3).code(3, 50).code(7).code(9).code(0).code(0)
    return image.put(0x5A3C, 16).file()


# The third pixel is an entry of the colour cache that was never used.
EMPTY_ENTRY = bytes.fromhex(
    "5249464636000000574542505650384c2a0000002f04c000000632618816fa87720a660ad94680b14d9dee110824962b0e9060ff23d7e7ea"
    "a59373d4cf01"
)


def files():
    """Pairs of a name and a file."""
    yield "codes-in-order", symbols(10, 200)
    yield "codes-in-reverse", symbols(200, 10)
    yield "codes-twice-the-same", symbols(77, 77)
    for number in (0, 5, 11, 13, 14, 15, 16, 17, 29, 139):
        yield f"predictor-{number}", predictor(number)
    yield "empty-cache-entry", EMPTY_ENTRY
