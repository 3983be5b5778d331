"""JPEG files whose components were coded one by one, each as a gray image by `cjpeg`, and joined by this module: four
components with subsampling, tables that change between the scans. `jpegtran` brings them into other forms."""

import subprocess

import numpy
from PIL import Image

from jpeg import inks
from jpeg_markers import DHT, DQT, DRI, SOF0, SOS, segment, split
from jpeg_tools import transcoded, with_exif, with_pixels
from kinds import add

ADOBE = 0xEE
# The factors of cyan, magenta, yellow and black, or of luma, chroma and black. Photoshop writes the second and third.
FOUR = {
    "1x1": ((1, 1),) * 4,
    "2x2-1x1-1x1-2x2": ((2, 2), (1, 1), (1, 1), (2, 2)),
    "2x1-1x1-1x1-2x1": ((2, 1), (1, 1), (1, 1), (2, 1)),
    "1x2-1x1-1x1-1x2": ((1, 2), (1, 1), (1, 1), (1, 2)),
    "2x2-1x1-1x1-1x1": ((2, 2), (1, 1), (1, 1), (1, 1)),
    "1x1-2x2-1x1-2x1": ((1, 1), (2, 2), (1, 1), (2, 1)),
}
THREE = {
    "1x1": ((1, 1),) * 3,
    "2x2": ((2, 2), (1, 1), (1, 1)),
    "2x1": ((2, 1), (1, 1), (1, 1)),
    "1x2": ((1, 2), (1, 1), (1, 1)),
}
# What `jpegtran` makes of a file with one scan per component; `None` leaves it.
FORMS = {
    "scans": None,
    "one-scan": (),
    "progressive": ("-progressive",),
    "restart": ("-restart", "2B"),
    "arithmetic": ("-arithmetic",),
}


def joined(planes, factors, qualities=(90,), restarts=(0,), transform=None):
    """A file with one scan for each plane (height, width), which is reduced by its factors. With several qualities the
    tables are defined anew before each scan. `restarts` are numbers of blocks, 0 for none."""
    height, width = planes[0].shape
    widest, tallest = (max(factor[side] for factor in factors) for side in (0, 1))
    frame = bytes([8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([len(planes)])
    frame += b"".join(bytes([index + 1, 16 * across + down, 0]) for index, (across, down) in enumerate(factors))
    body = b"\xff\xd8"
    if transform is not None:
        body += segment(ADOBE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))
    for index, (plane, (across, down)) in enumerate(zip(planes, factors)):
        size = (-(-width * across // widest), -(-height * down // tallest))
        reduced = numpy.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BOX))
        restart = restarts[index % len(restarts)]
        options = ["-quality", str(qualities[index % len(qualities)])]
        options += ["-restart", f"{restart}B"] if restart else []
        image = b"P5 %d %d 255\n" % size + reduced.tobytes()
        coded = subprocess.run(["cjpeg", *options], input=image, capture_output=True, check=True).stdout
        segments, data = split(coded)
        wanted = (DQT, DHT, DRI) if index == 0 or len(qualities) > 1 else (DRI,)
        body += b"".join(segment(*it) for it in segments if it[0] in wanted)
        body += segment(SOF0, frame) if index == 0 else b""
        body += segment(DRI, b"\0\0") if not restart and len(restarts) > 1 else b""
        # The coded data without the marker of the end.
        body += segment(SOS, bytes([1, index + 1, 0, 0, 63, 0])) + data[:-2]
    return body + b"\xff\xd9"


def split_planes(pixels):
    """The planes of pixels (height, width, samples)."""
    return [numpy.ascontiguousarray(pixels[:, :, index]) for index in range(pixels.shape[2])]


def _four(factors, form):
    def make(case):
        # Adobe's inks are inverted. Of the transforms 0 and 2, the second takes the first three for luma and chroma.
        planes = split_planes(255 - inks(case))
        body = joined(planes, factors, (case.choose(90, 75),), transform=case.choose(2, 0, 2))
        body = with_exif(body if form is None else transcoded(body, *form), case.orientation)
        return with_pixels(body) if form == FORMS["arithmetic"] else body

    return make


for _name, _factors in FOUR.items():
    for _form, _options in FORMS.items():
        add(f"jpeg/four-{_name}-{_form}", _four(_factors, _options), turns=True, tool="jpegtran")


def _redefined(factors):
    def make(case):
        pixels = numpy.asarray(Image.fromarray(case.rgb()).convert("YCbCr"))
        qualities = case.choose((90, 40, 75), (60, 95), (75, 75, 30))
        restarts = case.choose((0,), (2, 0, 3), (1,), (0, 4))
        return with_exif(joined(split_planes(pixels), factors, qualities, restarts), case.orientation)

    return make


for _name, _factors in THREE.items():
    add(f"jpeg/tables-redefined-{_name}", _redefined(_factors), turns=True, tool="cjpeg")
