"""How other libraries' preprocessing differs from Pillow's, which is that of `image-preprocess`.

    pip install -r tests/conformance/requirements-images.txt opencv-python-headless==5.0.0.93
    python tests/conformance/images/other_resizes.py ../shared/corpus/valid

Prints the mean and the largest difference of OpenCV's `resize` from Pillow's BILINEAR, in steps of 255, over the photos of the
folder; and for how many sizes a crop with `crop_rounding = "nearest"` is not torchvision's. The figures stand at the head of
`plugins/image-preprocess/src/lib.rs`.
"""

import math
import sys
from pathlib import Path

import cv2
import numpy
from PIL import Image

# Photos in colour: larger than 224 x 224 in both directions.
PHOTOS = (
    "exif-orientation-examples__Landscape_3.jpg",
    "exif-orientation-examples__Landscape_6.jpg",
    "exif-orientation-examples__Portrait_5.jpg",
    "exif-orientation-examples__Portrait_8.jpg",
    "skimage__retina.jpg",
    "skimage__rocket.jpg",
)
FILTERS = {"INTER_LINEAR": cv2.INTER_LINEAR, "INTER_AREA": cv2.INTER_AREA}
TARGETS = {
    "224 x 224": lambda width, height: (224, 224),
    "an eighth of the size": lambda width, height: (width // 8, height // 8),
    "the same size": lambda width, height: (width, height),
    "twice the size": lambda width, height: (2 * width, 2 * height),
}


def photos(folder):
    return [Image.open(Path(folder) / name).convert("RGB") for name in PHOTOS]


def compare(pictures):
    for name, code in FILTERS.items():
        for what, target in TARGETS.items():
            means, largest = [], 0
            for picture in pictures:
                size = target(*picture.size)
                ours = numpy.asarray(picture.resize(size, Image.Resampling.BILINEAR)).astype(int)
                theirs = cv2.resize(numpy.asarray(picture), size, interpolation=code).astype(int)
                difference = abs(ours - theirs)
                means.append(difference.mean())
                largest = max(largest, difference.max())
            print(f"{name}, {what}: mean {numpy.mean(means):.2f}, largest {largest}")


def crops(shorter=256, crop=224, most=2000):
    """The share of the ratios of the sides up to `most` pixels whose crop differs from torchvision's."""
    different = total = 0
    for side in range(shorter, most + 1):
        for other in range(side, most + 1):
            exact = other * shorter / side
            truncated, nearest = int(exact), math.floor(exact + 0.5)
            starts = round((truncated - crop) / 2), (nearest - crop) // 2
            different += truncated != nearest or starts[0] != starts[1]
            total += 1
    print(f"crops that differ by a pixel in size or start: {different / total:.1%} of {total:,} sizes")


if __name__ == "__main__":
    compare(photos(sys.argv[1]))
    crops()
