"""Reads the files of the plugin's deployment: the table `assets` of a stage in `plimsoll.toml`."""

from componentize_py_types import Err
from wit_world.imports import assets as _assets

from .failures import Internal


def read(name) -> bytes:
    """The bytes of the asset `name`. An unknown name raises `Internal` with the known names."""
    try:
        return _assets.read(name)
    except Err as error:
        raise Internal(error.value) from None


def labels(name) -> list:
    """The labels in the asset `name`: one for each line; the first line is class 0.

    Blank lines at the end, a byte order mark and Windows line ends are ignored. A blank line between labels counts, so
    that the later labels keep their index.
    """
    try:
        lines = read(name).decode().removeprefix("\ufeff").rstrip()
    except UnicodeDecodeError as error:
        raise Internal(f"labels `{name}`: {error}") from None
    if not lines:
        raise Internal(f"labels `{name}`: the file contains no label")
    return [line.strip() for line in lines.split("\n")]
