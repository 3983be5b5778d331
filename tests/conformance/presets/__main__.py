"""The presets of `image-preprocess`, as the projects that define them prepare images.

    python tests/conformance/presets make OUT [--count N]
    python tests/conformance/presets check OUT

`make` writes images and OUT/index.json, a list of `config` (TOML) and `cases`: case NAME is the image NAME.png.
`tests/it/preprocess_presets.rs` posts them and writes the tensors to NAME.npz. `check` compares them with the formulas of
the sources, written again with numpy and Pillow. Where a source resizes by another filter (CLIP bicubic, Ultralytics without
antialiasing), Pillow's BILINEAR is used instead, because that is what the plugin promises.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

VARIANTS = [
    {"preset": "imagenet"},
    {"preset": "imagenet", "width": 112, "height": 112},
    {"preset": "imagenet", "width": 96, "height": 96, "channels": "bgr", "layout": "nhwc"},
    {"preset": "clip"},
    {"preset": "clip", "width": 64, "height": 64, "scale": 1.0},
    {"preset": "yolo"},
    {"preset": "yolo", "width": 96, "height": 64},
    {"preset": "yolo", "width": 64, "height": 64, "resize": "stretch", "mean": 10.0, "channels": "gray"},
    {"preset": "tf", "width": 50, "height": 40},
    {"preset": "tf", "width": 50, "height": 40, "resize": "letterbox", "layout": "nchw"},
    {"preset": "caffe", "width": 50, "height": 40},
    {"preset": "caffe", "width": 50, "height": 40, "channels": "rgb"},
]


def imagenet(image, side, shorter, mean, deviation):
    """torchvision: `Resize(shorter)`, `CenterCrop(side)`, `ToTensor`, `Normalize`."""
    width, height = image.size
    size = (shorter, int(shorter * height / width)) if width <= height else (int(shorter * width / height), shorter)
    image = image.resize(size, Image.BILINEAR)
    left, top = int(round((size[0] - side) / 2)), int(round((size[1] - side) / 2))
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.float64) / 255
    return ((pixels - mean) / deviation).transpose(2, 0, 1)


def letterboxed(image, width, height, pad):
    """`LetterBox` of Ultralytics."""
    ratio = min(width / image.width, height / image.height)
    size = (max(1, int(round(image.width * ratio))), max(1, int(round(image.height * ratio))))
    left, top = int(round((width - size[0]) / 2 - 0.1)), int(round((height - size[1]) / 2 - 0.1))
    result = Image.new("RGB", (width, height), (pad, pad, pad))
    result.paste(image.resize(size, Image.BILINEAR), (left, top))
    return np.asarray(result, np.float64)


def reference(image, config):
    """The tensor without its first dimension, and the value of one step of a pixel."""
    preset, width, height = config["preset"], config.get("width"), config.get("height")
    if preset == "imagenet":
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        side = width or 224
        values = imagenet(image, side, {224: 256, 112: 128, 96: 110}[side], mean, deviation)
        if config.get("channels") == "bgr":
            values = values[::-1]
        return values.transpose(1, 2, 0) if config.get("layout") == "nhwc" else values, 1 / 255 / 0.225
    if preset == "clip":
        mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
        side = width or 224
        values = imagenet(image, side, side, np.array(mean), np.array(deviation))
        if "scale" in config:
            return values * np.array(deviation)[:, None, None] * 255, 1
        return values, 1 / 255 / 0.27
    if preset == "yolo" and config.get("resize") == "stretch":
        gray = image.resize((width, height), Image.BILINEAR).convert("L")
        return (np.asarray(gray, np.float64)[None] - 10) / 255, 1 / 255
    if preset == "yolo":
        return letterboxed(image, width or 640, height or 640, 114).transpose(2, 0, 1) / 255, 1 / 255
    resized = np.asarray(image.resize((width, height), Image.BILINEAR), np.float64)
    if preset == "tf" and config.get("resize") == "letterbox":
        return (letterboxed(image, width, height, 0) / 127.5 - 1).transpose(2, 0, 1), 1 / 127.5
    if preset == "tf":
        return resized / 127.5 - 1, 1 / 127.5
    # `x[..., ::-1]`, then the means of blue, green and red.
    values = resized[..., ::-1] - np.array([103.939, 116.779, 123.68])
    return values[..., ::-1] if config.get("channels") == "rgb" else values, 1


def picture(case):
    random = np.random.default_rng([11, case])
    small = random.integers(0, 256, (*random.integers(3, 12, 2), 3), dtype=np.uint8)
    width, height = (int(side) for side in random.integers(20, 500, 2))
    return Image.fromarray(small).resize((width, height), Image.BICUBIC)


def make(out, count):
    index = [{"config": toml(config), "cases": []} for config in VARIANTS]
    for case in range(count):
        picture(case).save(out / f"{case}.png")
        index[case % len(VARIANTS)]["cases"].append(str(case))
    (out / "index.json").write_text(json.dumps(index))


def toml(config):
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in config.items())


def check(out):
    wrong, cases = [], sorted(out.glob("*.npz"), key=lambda file: int(file.stem))
    for file in cases:
        config = VARIANTS[int(file.stem) % len(VARIANTS)]
        expected, step = reference(Image.open(out / f"{file.stem}.png"), config)
        found = np.load(file)["image"]
        if found.dtype != np.float32 or found.shape != (1, *expected.shape):
            wrong.append(f"{file.stem} ({config}): {found.dtype} {found.shape} instead of {expected.shape}")
            continue
        difference = abs(found[0].astype(np.float64) - expected) / step
        if difference.mean() > 0.5 or difference.max() > 4.1:
            wrong.append(f"{file.stem} ({config}): mean difference {difference.mean():.3f}, largest {difference.max():.3f}")
    print(f"{len(cases)} tensors, {len(wrong)} are wrong")
    print("\n".join(wrong[:20]))
    raise SystemExit(1 if wrong else 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["make", "check"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    make(arguments.out, arguments.count) if arguments.action == "make" else check(arguments.out)


if __name__ == "__main__":
    main()
