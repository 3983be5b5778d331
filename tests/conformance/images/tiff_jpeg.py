"""TIFF files whose strips or tiles are JPEG images with four samples: CMYK, and RGB with another sample."""

import numpy
from PIL import Image

from jpeg import inks
from jpeg_planes import FORMS, FOUR, joined, split_planes
from jpeg_tools import transcoded
from kinds import add
from tiff_tools import encode
from tiff_writer import INKS, LONG, RGB, SHORT, chunks, directory, header

JPEG = 7


def _file(samples, photometric, form, factors, rows, tile, extra, orientation):
    """A file of samples (height, width, 4); each strip or tile is a JPEG image."""
    height, width, _ = samples.shape
    offsets, lengths, body = [], [], b""
    for chunk in chunks(samples, rows or height, tile, False):
        data = joined(split_planes(chunk), factors)
        data = data if form is None else transcoded(data, *form)
        offsets.append(8 + len(body))
        lengths.append(len(data))
        body += data + b"\0" * (len(data) % 2)
    entries = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8] * 4),
        259: (SHORT, [JPEG]),
        262: (SHORT, [photometric]),
        274: (SHORT, [orientation]),
        277: (SHORT, [4]),
    }
    if tile:
        entries |= {322: (LONG, [tile[0]]), 323: (LONG, [tile[1]]), 324: (LONG, offsets), 325: (LONG, lengths)}
    else:
        entries |= {278: (LONG, [rows or height]), 273: (LONG, offsets), 279: (LONG, lengths)}
    if extra:
        entries[338] = (SHORT, extra)
    return header("<", False, 8 + len(body)) + body + directory(entries, "<", False, 8 + len(body))


def _samples(case, photometric):
    return inks(case) if photometric == INKS else numpy.dstack([case.rgb(), case.alpha()])


def _four(photometric, form, factors=FOUR["1x1"]):
    def make(case):
        samples = _samples(case, photometric)
        rows, tile = case.choose((None, None), (16, None), (None, (32, 16)))
        extra = [case.choose(2, 0)] if photometric == RGB else []
        body = _file(samples, photometric, form, factors, rows, tile, extra, case.orientation)
        # Pillow refuses subsampled samples.
        refused = numpy.ascontiguousarray(samples[:, :, :3])
        return body if factors == FOUR["1x1"] else (body, refused)

    return make


for _colours, _number in {"cmyk": INKS, "rgba": RGB}.items():
    for _form, _options in FORMS.items():
        add(f"tiff/{_colours}-jpeg-{_form}", _four(_number, _options), turns=True, tool="jpegtran")
    # libtiff refuses factors other than 1 of colours other than YCbCr.
    add(
        f"tiff/{_colours}-jpeg-subsampled",
        _four(_number, (), FOUR["2x2-1x1-1x1-2x2"]),
        turns=True,
        expectation="refuse",
        tool="jpegtran",
    )


def _pillow(mode):
    def make(case):
        samples = _samples(case, INKS if mode == "CMYK" else RGB)
        image = Image.fromarray(samples, mode)
        return encode(image, case.orientation, compression="jpeg", quality=case.choose(90, 75))

    return make


for _mode in ("CMYK", "RGBA"):
    add(f"tiff/pillow-{_mode.lower()}-jpeg", _pillow(_mode), turns=True)
