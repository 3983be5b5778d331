"""TIFF files that Pillow (libtiff) and `tiffcp` write: LZW, CCITT, JPEG, planes and tiles of libtiff."""

import io
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from kinds import add
from tiff_writer import BLACK, LONG, REVERSED, RGB, SHORT, WHITE, directory, header, write


def encode(image, orientation, **options):
    """The image as TIFF by Pillow, with its orientation."""
    file = io.BytesIO()
    image.save(file, "TIFF", tiffinfo={274: orientation}, **options)
    return file.getvalue()


def _pillow(mode, compression, **options):
    def make(case):
        image = Image.fromarray(case.rgb()).convert(mode)
        return encode(image, case.orientation, compression=compression, **options)

    return make


for _compression in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"):
    for _mode in ("RGB", "L", "P", "1", "RGBA", "CMYK", "LA"):
        _name = f"tiff/pillow-{_mode.lower()}-{_compression.replace('tiff_', '').replace('_', '-')}"
        add(_name, _pillow(_mode, _compression), turns=True)
for _compression in ("tiff_ccitt", "group3", "group4"):
    add(f"tiff/pillow-bilevel-{_compression.replace('tiff_', '')}", _pillow("1", _compression), turns=True)


def _reversed_fax(case):
    # Pillow does not write FillOrder 2; each strip is reversed.
    image = Image.fromarray(case.gray()).convert("1")
    rows, photometric = case.choose(case.height, 7, 1), case.choose(WHITE, BLACK)
    offsets, lengths, body = [], [], b""
    for y in range(0, case.height, rows):
        strip = encode(image.crop((0, y, case.width, min(y + rows, case.height))), 1, compression="tiff_ccitt")
        tags = Image.open(io.BytesIO(strip)).tag_v2
        data = strip[tags[273][0] :][: tags[279][0]].translate(REVERSED)
        offsets.append(8 + len(body))
        lengths.append(len(data))
        body += data + b"\0" * (len(data) % 2)
    entries = {256: (LONG, [case.width]), 257: (LONG, [case.height]), 258: (SHORT, [1]), 259: (SHORT, [2])}
    entries |= {262: (SHORT, [photometric]), 266: (SHORT, [2]), 274: (SHORT, [case.orientation]), 277: (SHORT, [1])}
    entries |= {273: (LONG, offsets), 278: (LONG, [rows]), 279: (LONG, lengths)}
    return header("<", False, 8 + len(body)) + body + directory(entries, "<", False, 8 + len(body))


add("tiff/ccitt-rows-fill-order-2", _reversed_fax, turns=True)
for _mode in ("RGB", "L", "YCbCr"):
    add(f"tiff/pillow-{_mode.lower()}-jpeg", _pillow(_mode, "jpeg", quality=90), turns=True)
add("tiff/pillow-big-lzw", _pillow("RGB", "tiff_lzw", big_tiff=True), turns=True)


def tiffcp(body, *options):
    """The file, copied by `tiffcp`."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.tif"), Path(folder, "target.tif")
        source.write_bytes(body)
        subprocess.run(["tiffcp", *options, source, target], check=True, capture_output=True)
        return target.read_bytes()


def _copied(*options, colours=RGB, bits=8):
    def make(case):
        if colours == RGB:
            samples = case.rgb()
        else:
            samples = case.gray()[:, :, None] >> (8 - bits)
        body = write(samples, colours, bits, rows=16, orientation=case.orientation)
        order = case.choose("-L", "-B")
        # The pixels are those of the file before it was copied: Pillow does not read all the layouts.
        levels = samples.astype("u4") * 255 // ((1 << bits) - 1)
        shown = (255 - levels if colours == WHITE else levels).astype("u1")
        if "jpeg" in options[1]:
            return tiffcp(body, order, *options)
        return tiffcp(body, order, *options), shown if shown.shape[2] == 3 else shown.repeat(3, axis=2)

    return make


TILES = ("-t", "-w", "64", "-l", "32")
PLANES = ("-p", "separate")
for _compression in ("none", "lzw", "lzw:2", "zip", "zip:2", "packbits"):
    for _name, _options in {"strips": ("-r", "5"), "tiles": TILES}.items():
        for _planes in ((), PLANES):
            _feature = f"tiffcp-{_name}-{_compression.replace(':', '-predictor-')}{'-planes' if _planes else ''}"
            _maker = _copied("-c", _compression, *_options, *_planes)
            add(f"tiff/{_feature}", _maker, turns=True, tool="tiffcp")
for _compression in ("g3:1d", "g3:2d", "g3:1d:fill", "g3:2d:fill", "g4"):
    for _order in ("msb2lsb", "lsb2msb"):
        for _colours, _name in ((BLACK, ""), (WHITE, "-white-is-0")):
            _feature = f"tiffcp-{_compression.replace(':', '-')}-{_order}{_name}"
            _maker = _copied("-c", _compression, "-f", _order, "-r", "20", colours=_colours, bits=1)
            add(f"tiff/{_feature}", _maker, turns=True, tool="tiffcp")
for _bits in (1, 4, 8):
    for _compression in ("lzw", "packbits", "zip"):
        _maker = _copied("-c", _compression, "-f", "lsb2msb", colours=BLACK, bits=_bits)
        add(f"tiff/tiffcp-gray-{_bits}-{_compression}-lsb2msb", _maker, turns=True, tool="tiffcp")
add("tiff/tiffcp-g4-tiles", _copied("-c", "g4", *TILES, colours=WHITE, bits=1), turns=True, tool="tiffcp")
add("tiff/tiffcp-big", _copied("-c", "lzw", "-8"), turns=True, tool="tiffcp")
# Strips and tiles that are JPEG images: YCbCr, and RGB as stored.
for _name, _options in {"strips": ("-r", "16"), "tiles": TILES}.items():
    add(f"tiff/tiffcp-jpeg-{_name}", _copied("-c", "jpeg:90", *_options), turns=True, tool="tiffcp")
    add(f"tiff/tiffcp-jpeg-rgb-{_name}", _copied("-c", "jpeg:r:90", *_options), turns=True, tool="tiffcp")
    add(f"tiff/tiffcp-jpeg-gray-{_name}", _copied("-c", "jpeg:90", *_options, colours=BLACK), turns=True, tool="tiffcp")
