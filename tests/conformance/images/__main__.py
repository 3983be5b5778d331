"""Generates the differential suite of the plugin `image-preprocess`: image files, and the pixels that Pillow makes of
them.

    python tests/conformance/images OUT [--count N] [--seed S]

The files cover format x feature x orientation x size: JPEG (by Pillow, by `cjpeg` of Debian's libjpeg-turbo-progs, and
with markers changed afterwards), PNG, WebP, GIF, BMP and TIFF (by Pillow, by `tiffcp` of libtiff-tools, and by writers
in this folder). The same count and seed give the same files. A smaller count contains as many kinds as possible.
Without `cjpeg` or `tiffcp` their kinds are left out, and a line on standard error says so.

OUT/index.tsv has one line per file:

- `file`: its name; `kind`: its format and feature.
- `expectation`: `decode` if the plugin must read the file; `refuse` if it must refuse the file with a 4xx.
- `width`, `height`: the size after the orientation is applied.
- `smaller`, `equal`, `larger`: the plugin's settings for three targets, as TOML.

OUT/FILE.ref has the three references, one after the other, compressed by zlib: bytes in NHWC, RGB, or gray if the
settings say so. A reference is: first frame, EXIF orientation, RGB, Pillow's `convert("L")` for gray, then resized with BILINEAR to the size that the plugin's geometry computes (see
`reference.py`). The plugin may differ by a mean of 0.5 and by 4 in an element.

Pillow does not read all kinds, or it truncates where the plugin rounds: samples of 16 bits, floating-point samples, BMP
samples of 5 and 6 bits, YCbCr in TIFF, some planes and masks. The functions that make these files return the pixels,
computed from the samples that they write.

`tests/it/image_fidelity.rs` runs the generator and compares the plugin with it.
"""

import argparse
import sys
import zlib
from pathlib import Path

import plan
import reference

COLUMNS = ("file", "kind", "expectation", "width", "height", "smaller", "equal", "larger")


def main():
    parser = argparse.ArgumentParser(prog="images", description=__doc__.partition("\n\n")[0])
    parser.add_argument("out", type=Path, help="the folder to write to")
    parser.add_argument("--count", type=int, default=plan.ALL, help="the number of files (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the pictures (default %(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    cases, missing = plan.cases(arguments.count, arguments.seed)
    for tool, kinds in missing.items():
        print(f"SKIPPED: {tool} is missing, so {kinds} kinds are left out", file=sys.stderr)
    lines = ["\t".join(COLUMNS)]
    for case in cases:
        made = case.kind.make(case)
        body, pixels = made if isinstance(made, tuple) else (made, None)
        image = reference.upright(body, pixels, case.orientation)
        size = (case.height, case.width) if case.orientation > 4 else (case.width, case.height)
        if image.size != size:
            raise AssertionError(f"{case.name}: Pillow reads {image.size}, the file was made with {size}")
        (arguments.out / case.name).write_bytes(body)
        targets = plan.targets(case, size)
        references = b"".join(reference.resized(image, target) for target in targets)
        (arguments.out / f"{case.name}.ref").write_bytes(zlib.compress(references, 6))
        fields = [case.name, case.kind.name, case.kind.expectation, *size, *(target.settings() for target in targets)]
        lines.append("\t".join(map(str, fields)))
    (arguments.out / "index.tsv").write_text("\n".join(lines) + "\n")
    print(f"{len(cases)} files of {len({case.kind.name for case in cases})} kinds")


if __name__ == "__main__":
    main()
