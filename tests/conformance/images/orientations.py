"""Measures how Pillow turns images whose orientation is stored in unusual ways.

    python tests/conformance/images/orientations.py > tests/data/orientations.tsv

`tests/it/image_orientation.rs` holds the plugin against the table. Each line has the answers for one block of metadata
in a JPEG, a PNG and a WebP, or for one file of its own:

- `what`: what is unusual about it.
- `jpeg`, `png`, `webp`: the answer if the block is the EXIF block of such a file, with XMP beside it that says 3; or
  `file`, the answer for the whole file.
- `hex`: the block or the file.

An answer is the orientation that Pillow applies, or `error` if `ImageOps.exif_transpose` raises an exception. The value
in most blocks is 6. So the answer is 6 if the block counts, 3 if Pillow goes on to XMP, and 1 if it does neither.

The first lines are the files into which the blocks are inserted.
"""

import io
import sys
import warnings

import numpy
import PIL
from orientation_cases import blocks, files
from orientation_tools import BASES, BLOCKS, KEYWORD, PIXELS, XMP, chunk, jpeg, png, text, webp
from PIL import Image, ImageOps

TURN = Image.Transpose
TURNS = {
    1: None, 2: TURN.FLIP_LEFT_RIGHT, 3: TURN.ROTATE_180, 4: TURN.FLIP_TOP_BOTTOM, 5: TURN.TRANSPOSE,
    6: TURN.ROTATE_270, 7: TURN.TRANSVERSE, 8: TURN.ROTATE_90,
}  # fmt: skip


def answer(body):
    """The orientation that Pillow applies, or `error`."""
    try:
        found = numpy.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("L")).astype(int)
    except Exception:  # Whatever it is, the file has no answer.
        return "error"
    for orientation, turn in TURNS.items():
        image = Image.fromarray(BLOCKS if body.startswith(b"\xff\xd8") else PIXELS)
        expected = numpy.asarray(image if turn is None else image.transpose(turn)).astype(int)
        if expected.shape == found.shape and abs(expected - found).max() < 30:
            return str(orientation)
    raise AssertionError(body.hex())


def main():
    warnings.simplefilter("ignore")
    print(f"# Pillow {PIL.__version__}; written by tests/conformance/images/orientations.py")
    for name, body in BASES.items():
        print("base", name, body.hex(), sep="\t")
    for what, block in blocks():
        answers = answer(jpeg(b"Exif\0\0" + block)), answer(png(chunk(b"eXIf", block) + text(KEYWORD, XMP)))
        print("block", what, *answers, answer(webp(block)), block.hex(), sep="\t")
    for form, what, body in files():
        print("file", form, what, answer(body), body.hex(), sep="\t")


if __name__ == "__main__":
    sys.exit(main())
