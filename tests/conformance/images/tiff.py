"""TIFF files of this suite's writer: colours, depths, layouts and byte orders."""

import numpy
from PIL import Image

from kinds import add, kind
from png import narrowed, wide
from tiff_writer import BLACK, DEFLATE, INKS, LZW, PACKBITS, PALETTE, RATIONAL, RGB, SHORT, STORED, WHITE, YCBCR, write

LAYOUTS = {
    "strips": {"rows": 7},
    "one-strip": {},
    "tiles": {"tile": (32, 16)},
    "large-tile": {"tile": (640, 640)},
}
COMPRESSIONS = {"stored": STORED, "deflate": DEFLATE, "packbits": PACKBITS}


def varied(case, **options):
    """Options of the writer that vary with the case: byte order, strips or tiles, orientation."""
    layouts = list(LAYOUTS.values())
    # A tile larger than the largest image takes long to write without being another kind.
    layout = layouts[case.variant % len(layouts)] if case.width < 300 else layouts[0]
    return {"order": case.choose("<", ">", ">"), "orientation": case.orientation, **layout, **options}


def full(pixels):
    """RGB of gray pixels (height, width, 1)."""
    return pixels.repeat(3, axis=2)


for _layout, _options in LAYOUTS.items():
    for _compression, _number in COMPRESSIONS.items():
        for _separate in (False, True):

            def _rgb(case, options=_options, number=_number, separate=_separate):
                # Pillow does not read all layouts of planes, so the pixels are given.
                pixels = case.rgb()
                more = {**options, "order": case.choose("<", ">"), "orientation": case.orientation}
                return write(pixels, RGB, compression=number, separate=separate, **more), pixels

            add(f"tiff/rgb-{_layout}-{_compression}{'-planes' if _separate else ''}", _rgb, turns=True)


def _gray(bits, photometric):
    def make(case):
        levels = case.gray()[:, :, None] >> (8 - bits)
        shown = (levels.astype(numpy.uint32) * 255 // ((1 << bits) - 1)).astype(numpy.uint8)
        body = write(levels, photometric, bits, compression=case.choose(*COMPRESSIONS.values()), **varied(case))
        return body, full(255 - shown if photometric == WHITE else shown)

    return make


for _bits in (1, 2, 4, 8):
    add(f"tiff/gray-{_bits}", _gray(_bits, BLACK), turns=True)
    add(f"tiff/gray-{_bits}-white-is-0", _gray(_bits, WHITE), turns=True)


@kind("tiff/gray-16", turns=True)
def _gray_16(case):
    samples = wide(case, 1)
    return write(samples, BLACK, 16, compression=case.choose(STORED, DEFLATE), **varied(case)), narrowed(samples)


@kind("tiff/gray-16-white-is-0", turns=True)
def _white_16(case):
    samples = wide(case, 1)
    return write(65535 - samples, WHITE, 16, **varied(case)), narrowed(samples)


@kind("tiff/rgb-16", turns=True)
def _rgb_16(case):
    samples = wide(case, 3)
    options = varied(case, compression=case.choose(STORED, DEFLATE), separate=case.variant % 2 == 1)
    return write(samples, RGB, 16, **options), narrowed(samples)


@kind("tiff/float", turns=True)
def _float(case):
    # 0 is black and 1 is white (TIFF Technical Note 3); Pillow shows 0 to 255.
    pixels = case.choose(case.rgb, lambda: case.gray()[:, :, None])()
    samples = (pixels / 255).astype(case.choose(numpy.float32, numpy.float32, numpy.float64))
    body = write(samples, RGB if pixels.shape[2] == 3 else BLACK, 8 * samples.itemsize, **varied(case))
    return body, pixels if pixels.shape[2] == 3 else full(pixels)


def _palette(bits, reversed_bits=False):
    def make(case):
        image = Image.fromarray(case.rgb()).quantize(1 << bits, dither=Image.Dither.NONE)
        colours = numpy.array(image.getpalette() + [0] * 768, dtype=numpy.uint32)[: 3 << bits].reshape(-1, 3)
        options = varied(case, compression=case.choose(STORED, PACKBITS), reversed_bits=reversed_bits)
        # All red values first; 16 bits each.
        tags = [(320, SHORT, (colours.T * 257).reshape(-1))]
        return write(numpy.asarray(image)[:, :, None], PALETTE, bits, tags=tags, **options), numpy.asarray(
            image.convert("RGB")
        )

    return make


for _bits in (1, 2, 4, 8):
    add(f"tiff/palette-{_bits}", _palette(_bits), turns=True)


@kind("tiff/gray-and-alpha", turns=True)
def _gray_alpha(case):
    gray = case.gray()
    samples = numpy.dstack([gray, case.alpha()])
    options = varied(case, compression=case.choose(STORED, DEFLATE), separate=case.variant % 3 == 2)
    return write(samples, BLACK, extra=[2], **options), full(gray[:, :, None])


@kind("tiff/gray-and-alpha-16", turns=True)
def _gray_alpha_16(case):
    samples = wide(case, 1)
    options = varied(case, compression=case.choose(STORED, DEFLATE), separate=case.variant % 3 == 2)
    return write(numpy.dstack([samples, samples // 2]), BLACK, 16, extra=[2], **options), narrowed(samples)


@kind("tiff/gray-32", turns=True, expectation="refuse")
def _gray_32(case):
    gray = case.gray()[:, :, None]
    return write(gray.astype(numpy.uint32) * 0x01010101, BLACK, 32, **varied(case)), full(gray)


@kind("tiff/gray-12", turns=True)
def _gray_12(case):
    # Pillow keeps the samples, and shows all above 255 as white.
    gray = case.gray()[:, :, None]
    samples = (gray.astype(numpy.uint32) * 4095 + 127) // 255
    photometric, compression = case.choose(BLACK, BLACK, WHITE), case.choose(STORED, DEFLATE, PACKBITS, DEFLATE)
    body = write(samples, photometric, 12, compression=compression, **varied(case))
    return body, full(255 - gray if photometric == WHITE else gray)


@kind("tiff/rgb-and-alpha", turns=True)
def _rgb_alpha(case):
    # Alpha that the colour is not multiplied by, or a sample without a meaning.
    pixels = case.rgb()
    options = varied(case, compression=case.choose(STORED, DEFLATE), separate=case.variant % 3 == 2)
    return write(numpy.dstack([pixels, case.alpha()]), RGB, extra=[case.choose(2, 0)], **options), pixels


@kind("tiff/rgb-multiplied-by-alpha", turns=True)
def _multiplied(case):
    alpha, colours = case.alpha().astype(numpy.uint32)[:, :, None], case.rgb()
    # Pillow divides and truncates; transparent pixels are black, also those with a colour.
    samples = numpy.where(alpha == 0, colours, (colours * alpha + 127) // 255)
    return write(numpy.dstack([samples, alpha]), RGB, extra=[1], **varied(case, rows=None, tile=None))


@kind("tiff/inks", turns=True)
def _inks(case):
    colours = 255 - case.rgb()
    samples = numpy.dstack([colours, case.gray() // 4])
    options = varied(case, compression=case.choose(STORED, DEFLATE), separate=case.variant % 3 == 2)
    shown = numpy.asarray(Image.fromarray(samples, "CMYK").convert("RGB"))
    return write(samples, INKS, **options), shown


def _colours(luma, blue, red, weights):
    """RGB of luma and differences to blue and red, for weights of red, green and blue in luma. Pillow truncates."""
    luma, blue, red = luma.astype(numpy.float64), blue - 128.0, red - 128.0
    red = luma + (2 - 2 * weights[0]) * red
    blue = luma + (2 - 2 * weights[2]) * blue
    green = (luma - weights[0] * red - weights[2] * blue) / weights[1]
    return numpy.dstack([red, green, blue]).round().clip(0, 255).astype(numpy.uint8)


def _units(planes, across, down):
    """Luma of `across` x `down` pixels, then one blue and one red difference (TIFF 6.0, section 21)."""
    height, width = planes[0].shape
    luma = numpy.pad(planes[0], ((0, -height % down), (0, -width % across)), mode="edge")
    rows, columns = luma.shape[0] // down, luma.shape[1] // across
    luma = luma.reshape(rows, down, columns, across).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    chroma = [plane[::down, ::across][:rows, :columns, None] for plane in planes[1:]]
    return numpy.concatenate([luma, *chroma], axis=2), chroma


def _ycbcr(across, down):
    def make(case):
        image = Image.fromarray(case.rgb()).convert("YCbCr")
        planes = [numpy.asarray(plane) for plane in image.split()]
        units, chroma = _units(planes, across, down)
        # libtiff repeats the chroma of a unit for each of its pixels.
        repeated = [it[:, :, 0].repeat(down, 0).repeat(across, 1)[: case.height, : case.width] for it in chroma]
        shown = _colours(planes[0], *repeated, (0.299, 0.587, 0.114))
        sizes = [(256, SHORT, [case.width]), (257, SHORT, [case.height]), (278, SHORT, [case.height])]
        tags = [*sizes, (258, SHORT, [8] * 3), (277, SHORT, [3]), (530, SHORT, [across, down])]
        # Strips of three rows of units, or tiles of several units; the tags count pixels.
        layout = case.choose("strip", "strips", "tiles")
        if layout == "strips":
            tags[2] = (278, SHORT, [3 * down])
        if layout == "tiles":
            tags[2:3] = [(322, SHORT, [16 * max(across, 2)]), (323, SHORT, [16 * down])]
        tile = (16 * max(across, 2) // across, 16) if layout == "tiles" else None
        compression = [STORED, DEFLATE, LZW, PACKBITS][case.variant // 3 % 4]
        options = {"compression": compression, "orientation": case.orientation, "tile": tile}
        options["rows"] = 3 if layout == "strips" else None
        return write(units, YCBCR, tags=tags, order=case.choose("<", ">"), **options), shown

    return make


for _across, _down in ((1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2), (4, 4)):
    add(f"tiff/ycbcr-{_across}x{_down}", _ycbcr(_across, _down), turns=True)


@kind("tiff/ycbcr-of-bt709", turns=True)
def _bt709(case):
    # Other weights of luma: YCbCrCoefficients.
    weights = (0.2126, 0.7152, 0.0722)
    pixels = case.rgb().astype(numpy.float64)
    luma = pixels @ weights
    differences = [(pixels[:, :, channel] - luma) / (2 - 2 * weights[channel]) + 128 for channel in (2, 0)]
    samples = numpy.dstack([luma, *differences]).round().clip(0, 255).astype(numpy.uint8)
    tags = [(529, RATIONAL, [(round(10000 * weight), 10000) for weight in weights]), (530, SHORT, [1, 1])]
    shown = _colours(*numpy.moveaxis(samples, 2, 0), weights)
    return write(samples, YCBCR, tags=tags, **varied(case)), shown


@kind("tiff/big", turns=True)
def _big(case):
    pixels = case.rgb()
    return write(pixels, RGB, big=True, **varied(case, compression=case.choose(STORED, DEFLATE))), pixels


def _predicted(bits, separate):
    def make(case):
        samples = wide(case, 3) if bits == 16 else case.rgb()
        options = varied(case, compression=DEFLATE, predictor=2, separate=separate)
        return write(samples, RGB, bits, **options), narrowed(samples) if bits == 16 else samples

    return make


for _bits in (8, 16):
    for _separate in (False, True):
        add(f"tiff/predictor-{_bits}{'-planes' if _separate else ''}", _predicted(_bits, _separate), turns=True)


def _reversed(bits):
    def make(case):
        levels = case.gray()[:, :, None] >> (8 - bits)
        shown = (levels.astype(numpy.uint32) * 255 // ((1 << bits) - 1)).astype(numpy.uint8)
        compression = case.choose(STORED, DEFLATE, PACKBITS)
        return write(levels, BLACK, bits, reversed_bits=True, compression=compression, **varied(case)), full(shown)

    return make


for _bits in (1, 4, 8):
    add(f"tiff/fill-order-2-gray-{_bits}", _reversed(_bits), turns=True)
add("tiff/fill-order-2-palette", _palette(4, True), turns=True)


@kind("tiff/two-pages")
def _two_pages(case):
    # The second directory is a copy of the first at the end of the file; only the first page is used.
    body = bytearray(write(case.rgb(), RGB, rows=9))
    first = int.from_bytes(body[4:8], "little")
    count = int.from_bytes(body[first : first + 2], "little")
    end = first + 2 + 12 * count
    body[end : end + 4] = (len(body)).to_bytes(4, "little")
    return bytes(body) + bytes(body[first:end]) + bytes(4)
