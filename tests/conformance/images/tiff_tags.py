"""TIFF files with contradicting tags: of strips and of tiles, and tags that are there twice. Readers disagree about
their pixels, so they must be refused."""

from kinds import kind
from tiff_writer import DEFLATE, PACKBITS, RGB, SHORT, STORED, write

STRIPS, TILES = (273, 279), (324, 325)


def _entries(body):
    """The entries of the first directory of a little-endian file, 12 bytes each, and its place."""
    at = int.from_bytes(body[4:8], "little")
    count = int.from_bytes(body[at : at + 2], "little")
    entries = [body[at + 2 + 12 * index : at + 14 + 12 * index] for index in range(count)]
    return at, {int.from_bytes(entry[:2], "little"): entry for entry in entries}


def _with_entries(body, entries):
    """The file with a new directory at its end. `entries` are pairs of a tag and an old entry."""
    entries = [tag.to_bytes(2, "little") + entry[2:] for tag, entry in sorted(entries, key=lambda it: it[0])]
    body += b"\0" * (len(body) % 2)
    directory = len(entries).to_bytes(2, "little") + b"".join(entries) + bytes(4)
    return body[:4] + len(body).to_bytes(4, "little") + body[8:] + directory


def _renamed(body, names, copied=False):
    """The file with other numbers for some tags. If `copied`, the old ones stay."""
    _, entries = _entries(body)
    changed = [(names[tag], entry) for tag, entry in entries.items() if tag in names]
    kept = [(tag, entry) for tag, entry in entries.items() if copied or tag not in names]
    return _with_entries(body, kept + changed)


def _tiled(case):
    pixels = case.rgb()
    compression = case.choose(STORED, DEFLATE, PACKBITS)
    return write(pixels, RGB, compression=compression, tile=(32, 16)), pixels


@kind("tiff/tiles-in-tags-of-strips", expectation="refuse")
def _tiles_in_strips(case):
    # libtiff takes the offsets of strips for those of tiles; Pillow does not if there is no compression.
    body, pixels = _tiled(case)
    names = [dict(zip(TILES, STRIPS)), {324: 273}, {325: 279}][case.variant // 3 % 3]
    return _renamed(body, names), pixels


@kind("tiff/strips-in-tags-of-tiles", expectation="refuse")
def _strips_in_tiles(case):
    pixels = case.rgb()
    body = write(pixels, RGB, compression=case.choose(STORED, DEFLATE), rows=7)
    names = [dict(zip(STRIPS, TILES)), {273: 324}, {279: 325}][case.variant // 2 % 3]
    return _renamed(body, names), pixels


@kind("tiff/tags-of-strips-and-of-tiles", expectation="refuse")
def _both(case):
    if case.variant % 2:
        body, pixels = _tiled(case)
        return _renamed(body, dict(zip(TILES, STRIPS)), copied=True), pixels
    pixels = case.rgb()
    sizes = [(322, SHORT, [case.width]), (323, SHORT, [case.height])]
    return write(pixels, RGB, compression=case.choose(STORED, DEFLATE, PACKBITS), tags=sizes), pixels


@kind("tiff/tag-twice", expectation="refuse")
def _twice(case):
    # libtiff takes the first, Pillow takes the last.
    pixels = case.rgb()
    body = write(pixels, RGB, rows=7, orientation=case.orientation)
    tag = case.choose(256, 257, 262, 273, 278, 277)
    _, entries = _entries(body)
    other = entries[tag][:8] + (int.from_bytes(entries[tag][8:], "little") + 1).to_bytes(4, "little")
    return _with_entries(body, [*entries.items(), (tag, other)]), pixels
