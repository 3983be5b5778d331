"""The Pillow side of the benchmark `preprocess`, and of the accuracy comparison of `image-preprocess`.

    python3 -m venv .venv && .venv/bin/pip install pillow numpy
    .venv/bin/python tests/benches/preprocess.py images FOLDER      # creates the benchmark's images
    .venv/bin/python tests/benches/preprocess.py time FOLDER        # times Pillow on them, prints JSON
    .venv/bin/python tests/benches/preprocess.py accuracy FOLDER    # compares the output of the benchmark's `accuracy`

The images are octaves of noise with grain and hard edges, from a fixed seed. The Pillow side decodes an image, converts
it to RGB, resizes it by BILINEAR to 224 x 224, and normalises it into float32 NCHW with numpy. The accuracy comparison
also applies the orientation; it compares the resized bytes, before they are normalised.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy
from PIL import Image, ImageOps

SIDE = 224
MEAN = numpy.array([0.485, 0.456, 0.406], dtype=numpy.float32)
DEVIATION = numpy.array([0.229, 0.224, 0.225], dtype=numpy.float32)
# The sides of the crops of `crop-transform`, as in `preprocess.rs`.
CROPS = (100, 1000, 2400)
# Image modes of Pillow with more than eight bits per channel. They are skipped because a comparison with
# them does not measure resizing.
SKIPPED_MODES = {"I;16", "I;16B", "I", "F"}


def noise(width, height, seed):
    """An RGB image of octaves of noise, hard edges and grain."""
    random = numpy.random.default_rng(seed)
    image = numpy.zeros((height, width, 3), dtype=numpy.float32)
    for octave in range(1, 8):
        cells = 2**octave
        coarse = random.normal(size=(cells, cells, 3)) * 0.6**octave
        for channel in range(3):
            layer = Image.fromarray(coarse[:, :, channel].astype(numpy.float32))
            image[:, :, channel] += numpy.asarray(layer.resize((width, height), Image.Resampling.BICUBIC))
    image = 128 + 90 * image
    for _ in range(40):
        x, y = random.integers(width), random.integers(height)
        w, h = random.integers(1, width // 4), random.integers(1, height // 4)
        image[y : y + h, x : x + w] += random.integers(-60, 60, size=3)
    image += random.normal(size=image.shape) * 7
    return Image.fromarray(image.clip(0, 255).astype(numpy.uint8))


def make(folder):
    """Creates the images that do not exist yet."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        "640x480.jpg": (640, 480, {"quality": 85}),
        "4000x3000.jpg": (4000, 3000, {"quality": 85}),
        "640x480-progressive.jpg": (640, 480, {"quality": 85, "progressive": True}),
        "4000x3000-progressive.jpg": (4000, 3000, {"quality": 85, "progressive": True}),
        "1920x1080.png": (1920, 1080, {}),
        "1024x768.webp": (1024, 768, {"quality": 80}),
    }
    for name, (width, height, options) in wanted.items():
        if not (folder / name).exists():
            noise(width, height, 7).save(folder / name, **options)


def prepare(path, draft=False):
    """Converts a file to a tensor with Pillow and numpy."""
    image = Image.open(path)
    if draft:
        image.draft("RGB", (SIDE, SIDE))
    return normalised(image.convert("RGB"))


def normalised(image):
    """A picture as a tensor."""
    image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    values = (numpy.asarray(image, dtype=numpy.float32) / 255 - MEAN) / DEVIATION
    return numpy.ascontiguousarray(values.transpose(2, 0, 1))


def clock(call):
    """The median time of a call in milliseconds, over about two seconds and at least nine calls."""
    call()
    times = []
    while len(times) < 9 or sum(times) < 2:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def measure(folder):
    """Prints the median of every image, and of JPEG drafts, as JSON."""
    result = {}
    for path in sorted(folder.glob("*x*.*")):
        result[path.name] = clock(lambda path=path: prepare(path))
        if path.suffix == ".jpg" and "progressive" not in path.name:
            result[path.name + " draft"] = clock(lambda path=path: prepare(path, draft=True))
    picture = Image.open(folder / "4000x3000.jpg").convert("RGB")
    for side in CROPS:
        box = (700, 500, 700 + side, 500 + side)
        result[f"crop {side}"] = clock(lambda box=box: normalised(picture.crop(box)))
    json.dump(result, sys.stdout, indent=2)
    print()


def compare(folder):
    """Compares each FOLDER/NAME.rgb (224 x 224 RGB bytes) with Pillow's result for its source file."""
    rows = []
    for line in (folder / "files.txt").read_text().splitlines():
        name, file = line.split("\t")
        try:
            image = ImageOps.exif_transpose(Image.open(file))
        except OSError as error:
            print(f"{name:<55} skipped: Pillow reports: {error}")
            continue
        if image.mode in SKIPPED_MODES:
            print(f"{name:<55} skipped: Pillow opens it as {image.mode}")
            continue
        # Alpha is dropped. Only opaque pixels are compared, because the colour of transparent pixels depends on the
        # decoder.
        image = image.convert("RGBA")
        opaque = numpy.asarray(image.getchannel("A").resize((SIDE, SIDE), Image.Resampling.BILINEAR)) == 255
        image = image.convert("RGB")
        expected = numpy.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=numpy.int16)
        ours = numpy.fromfile(folder / f"{name}.rgb", dtype=numpy.uint8).reshape(SIDE, SIDE, 3).astype(numpy.int16)
        difference = numpy.abs(expected - ours)[opaque]
        if not opaque.any():
            print(f"{name:<55} skipped: it has no opaque pixels")
            continue
        rows.append((difference.mean(), difference.max(), name))
    print(f"{'file':<55} {'mean':>7} {'max':>5}   of 255, against Pillow")
    for mean, most, name in sorted(rows, reverse=True):
        print(f"{name:<55} {mean:7.3f} {most:5}")
    means = [mean for mean, _, _ in rows]
    print(f"{len(rows)} files: mean {statistics.mean(means):.3f}, worst mean {max(means):.3f}")
    print(f"files with a mean above 0.5: {sum(mean > 0.5 for mean in means)}")


if __name__ == "__main__":
    {"images": make, "time": measure, "accuracy": compare}[sys.argv[1]](Path(sys.argv[2]))
