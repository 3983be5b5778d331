"""Counts the instructions that `image-core` takes for JPEGs, which do not depend on other load of the machine.

    cd plugins && cargo build --release --locked -p image-core --example prepare
    python3 tests/benches/jpeg_instructions.py FOLDER NAME=plugins/target/release/examples/prepare [NAME=OTHER ...]

It writes JPEGs to the folder (Pillow and numpy are needed), runs each program on them by `valgrind --tool=callgrind`, and
prints a table in millions of instructions. To compare commits, build the example in a checkout of each. The first
program is the reference of the percentages. With `--quick`, only the smallest images are measured. With
`--photographs=FOLDER`, only the photographs in this folder (`../shared/corpus/valid`) are measured, at 224×224.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from PIL import Image, ImageDraw, ImageFont

from preprocess import noise

SIZES = [(640, 480), (1920, 1080), (4000, 3000)]
# The subsampling of Pillow; `None` is a gray image.
SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2, "gray": None}
REDUCTIONS = [2, 3, 4, 6, 10, 18]
# All photographs of the corpus that are baseline JPEGs in colour and larger than 224×224 in both directions.
PHOTOGRAPHS = (
    "exif-orientation-examples__Landscape_3.jpg",
    "exif-orientation-examples__Landscape_6.jpg",
    "exif-orientation-examples__Portrait_5.jpg",
    "exif-orientation-examples__Portrait_8.jpg",
    "skimage__retina.jpg",
    "skimage__rocket.jpg",
    "pillow__flower.jpg",
    "pillow__flower2.jpg",
    "pillow__iptc.jpg",
)


def text(width, height, seed):
    """Lines of text in saturated colours on saturated colours."""
    random = numpy.random.default_rng(seed)
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(20)

    def colour():
        return tuple(int(255 * bit) for bit in random.integers(2, size=3))

    for y in range(0, height, 24):
        for x in range(0, width, 240):
            letters = "".join(chr(letter) for letter in random.integers(65, 122, size=24))
            draw.rectangle((x, y, x + 240, y + 24), fill=colour())
            draw.text((x, y), letters, fill=colour(), font=font)
    return image


PICTURES = {"photo": noise, "text": text}


def make(folder, picture, size, sampling):
    """The file of an image, which is written if it does not exist."""
    file = folder / f"{picture}-{size[0]}x{size[1]}-{sampling.replace(':', '')}.jpg"
    if not file.exists():
        image = PICTURES[picture](*size, 7)
        if SAMPLINGS[sampling] is None:
            image.convert("L").save(file, quality=85)
        else:
            image.save(file, quality=85, subsampling=SAMPLINGS[sampling])
    return file


def instructions(program, file, width, height):
    """Millions of instructions."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", program, file]
        log = subprocess.run([*map(str, command), str(width), str(height)], capture_output=True, text=True, check=True)
    return int(re.search(r"Collected\s*:\s*(\d+)", log.stderr).group(1)) / 1e6


def photograph(file):
    """The row of a photograph: its file, what it shows, its size, sampling and target."""
    image = Image.open(file)
    across, down = image.layer[0][1:3]
    sampling = {(2, 2): "4:2:0", (2, 1): "4:2:2", (1, 1): "4:4:4"}[across, down]
    return file, file.stem.split("__")[1], image.size, sampling, (224, 224)


def cases(quick):
    """Picture, size, sampling and target of each row. Large images have fewer targets, because they take long."""
    for size in SIZES[:1] if quick else SIZES:
        for picture in PICTURES:
            for sampling in SAMPLINGS:
                for reduction in REDUCTIONS:
                    if size[0] < 1000 or (sampling in ("4:4:4", "4:2:0") and reduction in (2, 6, 18)):
                        yield picture, size, sampling, (size[0] // reduction, size[1] // reduction)
    for picture in PICTURES:
        yield picture, SIZES[0], "4:2:0", (224, 224)
        if not quick:
            yield picture, SIZES[1], "4:4:4", (224, 224)
            yield picture, SIZES[2], "4:2:0", (224, 224)
            yield picture, SIZES[2], "4:2:0", (640, 640)


def main(arguments):
    quick = "--quick" in arguments
    photographs = next((it.split("=", 1)[1] for it in arguments if it.startswith("--photographs=")), None)
    folder, *programs = [argument for argument in arguments if not argument.startswith("--")]
    programs = [program.split("=", 1) for program in programs]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name, _ in programs]
    changes = [f"{name} / {names[0]}" for name in names[1:]]
    print("| picture | size | sampling | target | " + " | ".join(names + changes) + " |")
    print("| --- " * (4 + len(names) + len(changes)) + "|")
    if photographs:
        rows = (photograph(Path(photographs) / name) for name in PHOTOGRAPHS)
    else:
        rows = ((make(folder, *case[:3]), *case) for case in cases(quick))
    for file, picture, size, sampling, target in rows:
        counts = [instructions(program, file, *target) for _, program in programs]
        cells = [picture, f"{size[0]}×{size[1]}", sampling, f"{target[0]}×{target[1]}"]
        cells += [f"{count:.1f}" for count in counts] + [f"{count / counts[0]:.3f}" for count in counts[1:]]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
