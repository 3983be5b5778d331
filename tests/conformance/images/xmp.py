"""Files of all formats whose orientation stands in XMP, alone or beside EXIF, by the rules of Pillow: XMP is read if EXIF
has no orientation, and it is searched as text."""

import zlib

import numpy

import png
import tiff_writer
import webp
from jpeg import exif
from jpeg_exif import block
from jpeg_markers import APP1, join, parts
from kinds import kind

KEYWORD = b"XML:com.adobe.xmp"
XMP = 700


def text(*properties):
    """An XMP packet with these properties: attributes, or elements, which begin with `<`."""
    attributes = " ".join(it for it in properties if not it.startswith("<"))
    elements = "".join(it for it in properties if it.startswith("<"))
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Make="Plimsoll" {attributes}>{elements}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def attribute(orientation):
    """A packet with the orientation as an attribute."""
    return text(f'tiff:Orientation="{orientation}"')


def element(orientation):
    """A packet with the orientation as an element."""
    return text(f"<tiff:Orientation>{orientation}</tiff:Orientation>")


def packet(case):
    """A packet with the orientation of the case, as an attribute or as an element."""
    return case.choose(attribute, element)(case.orientation)


def other(orientation):
    """An orientation that is not this one."""
    return orientation % 8 + 1


def segment(content):
    """The segment of a JPEG for this packet."""
    return APP1, b"http://ns.adobe.com/xap/1.0/\0" + content


@kind("jpeg/xmp", turns=True)
def _jpeg(case):
    segments, data = parts(case, progressive=case.choose(False, False, True, True))
    return join([segments[0], segment(packet(case)), *segments[1:]], data)


@kind("jpeg/xmp-and-exif", turns=True)
def _jpeg_exif(case):
    segments, data = parts(case)
    both = [(APP1, block(case.orientation)), segment(attribute(other(case.orientation)))]
    return join([segments[0], *(both if case.variant % 2 else both[::-1]), *segments[1:]], data)


@kind("jpeg/xmp-and-exif-without-orientation", turns=True)
def _jpeg_silent_exif(case):
    # The block has another tag where the orientation would be.
    segments, data = parts(case)
    silent = block(6, ">").replace(b"\x01\x12\0\x03", b"\x01\x1c\0\x03")
    return join([(APP1, silent), segment(packet(case)), *segments], data)


@kind("jpeg/xmp-and-exif-with-wrong-orientation")
def _jpeg_wrong_exif(case):
    segments, data = parts(case)
    return join([(APP1, block(case.choose(0, 9, 65535))), segment(attribute(6)), *segments[1:]], data)


@kind("jpeg/xmp-of-two-segments", turns=True)
def _jpeg_twice(case):
    segments, data = parts(case)
    first = segment(attribute(other(case.orientation)))
    return join([segments[0], first, segment(packet(case)), *segments[1:]], data)


@kind("jpeg/xmp-with-name-before", turns=True)
def _jpeg_name(case):
    # The first place with the name has no orientation.
    segments, data = parts(case)
    content = text("tiff:Orientation='3'", f"<tiff:Orientation>{case.orientation}</tiff:Orientation>")
    return join([segments[0], segment(content), *segments[1:]], data)


@kind("jpeg/xmp-without-valid-orientation")
def _jpeg_wrong(case):
    segments, data = parts(case)
    values = ("tiff:Orientation='6'", 'tiff:Orientation="9"', 'tiff:Orientation="0"', 'exif:Orientation="6"')
    return join([segments[0], segment(text(case.choose(*values))), *segments[1:]], data)


def _png(case, chunk, before=True, exif_chunk=b""):
    pixels = case.rgb()
    if before:
        return png.write(pixels, png.RGB, 8, interlaced=case.variant % 3 == 2, before=exif_chunk + chunk)
    body = png.write(pixels, png.RGB, 8, before=exif_chunk)
    end = png.chunk(b"IEND", b"")
    return body.removesuffix(end) + chunk + end


@kind("png/xmp", turns=True)
def _png_xmp(case):
    chunk = png.chunk(b"iTXt", KEYWORD + b"\0\0\0en\0XMP\0" + packet(case))
    return _png(case, chunk, before=case.variant % 4 < 2)


@kind("png/xmp-compressed", turns=True)
def _png_compressed(case):
    return _png(case, png.chunk(b"iTXt", KEYWORD + b"\0\1\0\0\0" + zlib.compress(packet(case))))


@kind("png/xmp-in-latin-text", turns=True)
def _png_latin(case):
    if case.variant % 4 < 2:
        return _png(case, png.chunk(b"tEXt", KEYWORD + b"\0" + packet(case)))
    return _png(case, png.chunk(b"zTXt", KEYWORD + b"\0\0" + zlib.compress(packet(case))))


@kind("png/xmp-and-exif", turns=True)
def _png_exif(case):
    # An orientation of 1 has no chunk.
    silent = other(case.orientation) if case.orientation > 1 else 1
    chunk = png.chunk(b"iTXt", KEYWORD + b"\0\0\0\0\0" + attribute(silent))
    return _png(case, chunk, exif_chunk=png.exif_chunk(case.orientation))


@kind("png/exif-after-the-image", turns=True)
def _png_late_exif(case):
    return _png(case, png.exif_chunk(case.orientation), before=False)


@kind("webp/xmp", turns=True)
def _webp(case):
    return webp.encode(case.rgb(), lossless=case.variant % 4 < 2, quality=85, xmp=packet(case))


@kind("webp/xmp-and-exif", turns=True)
def _webp_exif(case):
    silent = other(case.orientation) if case.orientation > 1 else 1
    return webp.encode(case.rgb(), quality=85, exif=exif(case.orientation), xmp=attribute(silent))


@kind("tiff/xmp", turns=True)
def _tiff(case):
    form = tiff_writer.UNDEFINED if case.variant % 4 > 1 else tiff_writer.BYTE
    tags = [(XMP, form, packet(case))]
    return tiff_writer.write(case.rgb(), tiff_writer.RGB, order=case.choose("<", ">", ">"), rows=9, tags=tags)


@kind("tiff/xmp-and-orientation", turns=True)
def _tiff_both(case):
    orientation = [(274, tiff_writer.SHORT, [case.orientation])]
    tags = [*orientation, (XMP, tiff_writer.BYTE, attribute(other(case.orientation)))]
    pixels = numpy.ascontiguousarray(case.rgb())
    return tiff_writer.write(pixels, tiff_writer.RGB, order=case.choose("<", ">"), rows=9, tags=tags)
