"""Lossless JPEG (T.81, annex H) with 8 bits per sample. Few programs read it."""

import numpy

from jpeg_exif import block
from kinds import kind

# The code of a difference's category: 17 categories in codes of 5 bits (T.81, H.1.2.2). 31 is not used, because a code
# of ones only is not allowed.
CODE_BITS = 5


def encode(pixels, predictor, exif):
    """The file for bytes (height, width, components): one scan with all components, one predictor from 1 to 7."""
    height, width, components = pixels.shape
    samples = pixels.astype(numpy.int32)
    left, above, corner = (numpy.zeros_like(samples) for _ in range(3))
    left[:, 1:], above[1:], corner[1:, 1:] = samples[:, :-1], samples[:-1], samples[:-1, :-1]
    predicted = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor]
    # The first row is predicted from the left, the first column from above, the first sample from the middle.
    predicted[0], predicted[1:, 0], predicted[0, 0] = left[0], above[1:, 0], 128
    differences = (samples - predicted).reshape(-1)

    bits = []
    for difference in differences.tolist():
        # Differences are modulo 65536; those of 8-bit samples need no wrapping.
        category = abs(difference).bit_length()
        bits.append(f"{category:05b}")
        if category:
            bits.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
    bits = "".join(bits)
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")

    ids = b"RGB" if components == 3 else b"\1"
    frame = bytes([8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([components])
    frame += b"".join(bytes([id, 0x11, 0]) for id in ids)
    counts = [0] * 16
    counts[CODE_BITS - 1] = 17
    scan = bytes([components]) + b"".join(bytes([id, 0]) for id in ids) + bytes([predictor, 0, 0])
    segments = [(0xE1, exif), (0xC3, frame), (0xC4, bytes([0, *counts, *range(17)])), (0xDA, scan)]
    body = b"\xff\xd8"
    for marker, content in segments:
        body += b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2, "big") + content
    return body + data + b"\xff\xd9"


@kind("jpeg/lossless-rgb", turns=True, expectation="refuse")
def _lossless_rgb(case):
    return encode(case.rgb(), 1 + case.variant % 7, block(case.orientation))


@kind("jpeg/lossless-gray", turns=True, expectation="refuse")
def _lossless_gray(case):
    return encode(case.gray()[:, :, numpy.newaxis], 1 + case.variant % 7, block(case.orientation))
