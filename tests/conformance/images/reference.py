"""The reference: Pillow's pixels of a file, and its resized pixels in the plugin's geometry."""

import io
from dataclasses import dataclass

import numpy
from PIL import Image, ImageOps

# The transposition for each orientation (Exif 2.32, 4.6.4, tag 0x0112).
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The value of the border. Not 0, so that a border in a wrong place is seen.
PAD = 114


@dataclass(frozen=True)
class Target:
    """The plugin's settings of one target."""

    width: int
    height: int
    mode: str
    # The length of the shorter side before a crop, or None.
    shorter: int | None = None
    # True if the tensor has one channel.
    gray: bool = False

    def settings(self):
        """The settings as keys of the plugin's configuration in TOML."""
        text = f'width = {self.width}, height = {self.height}, resize = "{self.mode}", dtype = "u8", layout = "nhwc"'
        if self.mode == "letterbox":
            text += f", pad = {PAD}"
        if self.shorter:
            text += f", resize_shorter = {self.shorter}"
        if self.gray:
            text += ', channels = "gray"'
        return text


def upright(body, pixels, orientation):
    """The first frame in RGB with its orientation applied. If `pixels` are given, they are its pixels as stored."""
    if pixels is not None:
        image = Image.fromarray(pixels)
        return image.transpose(TRANSPOSE[orientation]) if orientation > 1 else image
    image = Image.open(io.BytesIO(body))
    image.load()
    return ImageOps.exif_transpose(image).convert("RGB")


def resized(image, target):
    """The bytes of the tensor. The rules are those of `Target::plan` in plugins/image-core/src/geometry.rs."""
    width, height = target.width, target.height
    if target.gray:
        image = image.convert("L")
    if target.mode == "stretch":
        return image.resize((width, height), Image.Resampling.BILINEAR).tobytes()
    fit = (width / image.width, height / image.height)
    if target.mode == "letterbox":
        # The sides are rounded to the nearest pixel, a half to the even number, as LetterBox of Ultralytics does; an odd border is
        # one pixel smaller on the left and above.
        scale = min(fit)
        full = [min(max(round(side * scale), 1), most) for side, most in zip(image.size, (width, height))]
        canvas = numpy.full((height, width, *numpy.asarray(image).shape[2:]), PAD, dtype=numpy.uint8)
        x, y = (width - full[0]) // 2, (height - full[1]) // 2
        canvas[y : y + full[1], x : x + full[0]] = numpy.asarray(image.resize(full, Image.Resampling.BILINEAR))
        return canvas.tobytes()
    full = covering(image.size, target)
    # Python rounds halves to the even number, as torchvision's center_crop does.
    x, y = (int(round((side - inner) / 2.0)) for side, inner in zip(full, (width, height)))
    return image.resize(full, Image.Resampling.BILINEAR).crop((x, y, x + width, y + height)).tobytes()


def covering(size, target):
    """The size before a crop, as computed by torchvision: the longer side is truncated."""
    if target.shorter:
        to, by = target.shorter, min(size)
    elif target.width * size[1] >= target.height * size[0]:
        to, by = target.width, size[0]
    else:
        to, by = target.height, size[1]
    return [int(to * side / by) for side in size]
