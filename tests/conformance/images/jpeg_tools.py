"""JPEG files that `cjpeg` of libjpeg-turbo writes: sampling factors, scans and restart intervals that Pillow cannot
write."""

import io
import subprocess
import tempfile

import numpy
from PIL import Image

from jpeg import exif
from kinds import add

# The factors of the components, as `-sample` takes them. An MCU has at most ten blocks (T.81, B.2.3). libjpeg refuses
# factors that do not divide the largest one.
SAMPLINGS = (
    "1x2,1x1,1x1",
    "4x1,1x1,1x1",
    "1x4,1x1,1x1",
    "4x2,1x1,1x1",
    "2x4,1x1,1x1",
    "3x1,1x1,1x1",
    "1x3,1x1,1x1",
    "3x2,1x1,1x1",
    "2x2,2x1,1x1",
    "2x2,1x2,1x1",
    "2x2,2x1,2x1",
    "2x2,1x2,1x2",
    "2x1,1x2,1x1",
    "4x1,2x1,1x1",
    "2x2,2x2,1x1",
    "1x1,2x2,2x2",
    "1x1,2x1,2x1",
    "1x1,1x2,1x2",
    "2x1,2x2,1x1",
    "2x1,2x1,2x1",
    "1x2,1x2,1x2",
)
SCANS = {
    # One scan per component.
    "scan-per-component": "0; 1; 2;",
    "chroma-in-one-scan": "0; 1 2;",
    "luma-with-blue": "0 1; 2;",
    "red-first": "2; 1; 0;",
    # Spectral selection only.
    "progressive-bands": "0 1 2: 0-0, 0, 0; 0: 1-5, 0, 0; 2: 1-63, 0, 0; 1: 1-63, 0, 0; 0: 6-63, 0, 0;",
    # Components of the DC scan split, and successive approximation in several steps.
    "progressive-steps": (
        "0: 0-0, 0, 2; 1 2: 0-0, 0, 1; 0: 1-63, 0, 2; 1: 1-63, 0, 1; 2: 1-63, 0, 1; 0: 1-63, 2, 1; "
        "0: 0-0, 2, 1; 0: 0-0, 1, 0; 1 2: 0-0, 1, 0; 1: 1-63, 1, 0; 2: 1-63, 1, 0; 0: 1-63, 1, 0;"
    ),
}


def cjpeg(case, *options, gray=False, scans=None):
    """A picture by `cjpeg`, with the EXIF block of the case's orientation."""
    pixels = case.gray() if gray else case.rgb()
    kind = b"P5" if gray else b"P6"
    image = b"%s %d %d 255\n" % (kind, case.width, case.height) + pixels.tobytes()
    command = ["cjpeg", "-quality", str(case.choose(85, 92, 70, 60, 97)), *options]
    with tempfile.NamedTemporaryFile("w", suffix=".scans") as script:
        if scans:
            script.write(scans)
            script.flush()
            command += ["-scans", script.name]
        body = subprocess.run(command, input=image, capture_output=True, check=True).stdout
    return with_exif(body, case.orientation)


def with_exif(body, orientation):
    """The file with an EXIF block after its JFIF segment, if any."""
    block = exif(orientation)
    if not block:
        return body
    at = 2 if body[2:4] != b"\xff\xe0" else 4 + int.from_bytes(body[4:6], "big")
    return body[:at] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + body[at:]


def transcoded(body, *options):
    """The same coefficients in another form, by `jpegtran`."""
    return subprocess.run(["jpegtran", "-copy", "all", *options], input=body, capture_output=True, check=True).stdout


def with_pixels(body):
    """An arithmetic-coded file, and its pixels: those of the same coefficients in Huffman codes, because Pillow does not
    read arithmetic codes of more than 64 KB."""
    return body, numpy.asarray(Image.open(io.BytesIO(transcoded(body))).convert("RGB"))


def _register(feature, *options, **more):
    arithmetic = "-arithmetic" in options

    def make(case):
        body = cjpeg(case, *options, **more)
        return with_pixels(body) if arithmetic else body

    add(f"jpeg/{feature}", make, turns=True, tool="cjpeg")


for _sampling in SAMPLINGS:
    _name = "sample-" + _sampling.replace(",", "-")
    _register(_name, "-sample", _sampling)
    _register(f"{_name}-progressive", "-progressive", "-sample", _sampling)
for _name, _script in SCANS.items():
    for _sampling in ("2x2", "2x1", "1x2", "1x1"):
        _register(f"{_name}-{_sampling}", "-sample", _sampling, scans=_script)
_register("scan-per-component-restart", "-sample", "2x2", "-restart", "2", scans=SCANS["scan-per-component"])
_register("restart-each-mcu", "-restart", "1B")
_register("restart-of-17-mcus", "-sample", "2x1", "-restart", "17B")
_register("rgb-of-cjpeg", "-rgb")
_register("rgb-progressive", "-rgb", "-progressive")
_register("gray-of-cjpeg", "-grayscale")
_register("gray-sampled", "-sample", "2x2", gray=True)
_register("gray-restart-progressive", "-progressive", "-restart", "3B", gray=True)
_register("smoothed", "-smooth", "20")
_register("fast-dct", "-dct", "fast")
_register("coarse-extended", "-quality", "3")
_register("coarse-baseline", "-quality", "3", "-baseline")
# Arithmetic coding (T.81, annex D) is rare: most programs cannot read it.
for _sampling in ("2x2", "1x1"):
    _register(f"arithmetic-{_sampling}", "-arithmetic", "-sample", _sampling)
_register("arithmetic-progressive", "-arithmetic", "-progressive")
_register("arithmetic-restart", "-arithmetic", "-restart", "4B")
_register("arithmetic-gray", "-arithmetic", gray=True)
_register("arithmetic-scans", "-arithmetic", scans=SCANS["scan-per-component"])


def _conditioned(case):
    # A DAC segment changes the contexts of decisions (T.81, F.1.4), so the coefficients are others than those that were
    # coded: noise, but the same in every decoder.
    more = case.choose((), ("-progressive",), ("-restart", "2B"), ("-grayscale",))
    body = cjpeg(case, "-arithmetic", "-sample", "1x1", *more)
    bounds = b""
    for table in (0, 1):
        low = int(case.random.integers(0, 4))
        bounds += bytes([table, 16 * int(case.random.integers(low, 7)) + low])
        bounds += bytes([16 + table, int(case.random.integers(1, 64))])
    scan = b"\xff\xda"
    body = body.replace(scan, b"\xff\xcc" + (2 + len(bounds)).to_bytes(2, "big") + bounds + scan)
    # djpeg may warn of coefficients that are too large.
    shown = subprocess.run(["djpeg"], input=body, capture_output=True, check=False).stdout
    return body, numpy.asarray(Image.open(io.BytesIO(shown)).convert("RGB"))


add("jpeg/arithmetic-conditioned", _conditioned, turns=True, tool="djpeg")
