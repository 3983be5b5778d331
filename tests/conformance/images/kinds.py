"""The register of the kinds of files. A kind is a format and a feature; a function makes one file of it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy

import picture


@dataclass(frozen=True)
class Kind:
    """A kind of file. `make` returns the file, or the file and its pixels as stored (height, width, RGB) if Pillow does
    not read them exactly."""

    name: str
    make: Callable
    # True if the format stores an orientation.
    turns: bool
    # `decode`, or `refuse` if the plugin must refuse the file.
    expectation: str
    # The program that makes the file, if any.
    tool: str | None


@dataclass(frozen=True)
class Case:
    """One file: a kind, with a size as stored and an orientation from 1 to 8."""

    kind: Kind
    # The number of the file within its kind.
    variant: int
    width: int
    height: int
    orientation: int
    # The number of the file in the suite.
    number: int
    random: numpy.random.Generator = field(repr=False)

    @property
    def name(self):
        """The file's name. The extension is the format's name: the plugin ignores it."""
        form, _, feature = self.kind.name.partition("/")
        return f"{self.number:04}-{feature}-{self.width}x{self.height}-{self.orientation}.{form}"

    def rgb(self):
        """A picture of this size in RGB."""
        return picture.rgb(self.random, self.width, self.height)

    def gray(self):
        """A picture of this size in gray."""
        return picture.gray(self.random, self.width, self.height)

    def alpha(self):
        """An alpha channel of this size, with transparent and opaque pixels."""
        return picture.alpha(self.random, self.width, self.height)

    def choose(self, *values):
        """One of the values, by the number of the file within its kind."""
        return values[self.variant % len(values)]


KINDS: dict[str, Kind] = {}


def add(name, make, turns=False, expectation="decode", tool=None):
    """Registers a kind."""
    if name in KINDS:
        raise ValueError(f"two kinds have the name {name}")
    KINDS[name] = Kind(name, make, turns, expectation, tool)


def kind(name, **options):
    """Registers the decorated function as the maker of a kind."""

    def register(make):
        add(name, make, **options)
        return make

    return register


def available():
    """The kinds whose program is installed, and the number of the others by program."""
    found, missing = [], {}
    for it in KINDS.values():
        if it.tool is None or shutil.which(it.tool):
            found.append(it)
        else:
            missing[it.tool] = missing.get(it.tool, 0) + 1
    return found, missing
