"""Leaks in Python, and code that only looks like a leak. The request parameter `case` names the case.

All cases are in one component, because compiling the interpreter takes longer than the runs.
"""

import collections
import contextvars
import functools
import re
import sys
import threading
import warnings
import weakref

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.tensor import Tensor, TensorType
from wit_world.imports.types import Failure_InvalidInput, Failure_UnsupportedMediaType, Prepared

IMAGE = 4000


class ImageError(Exception):
    pass


TRUNCATED = ImageError("the image breaks off")


def read_image(body, error):
    image = bytearray(body)  # the decoded copy
    if kind(image) == "invalid":
        raise error
    return image


# Raised again and again, the exception keeps the frames of every raise, and the frames keep the images.
def incident(body, outcome):
    try:
        read_image(body, TRUNCATED)
    except ImageError:
        pass


def mended_by_reset(body, outcome):
    try:
        read_image(body, TRUNCATED)
    except ImageError as error:
        error.__traceback__ = None


def mended_by_new(body, outcome):
    try:
        read_image(body, ImageError("the image breaks off"))
    except ImageError:
        pass


def no_leak(body, outcome):
    return sorted(bytes(body[:100])), {"length": len(body)}


class Node:
    def __init__(self, data):
        self.data = data
        self.itself = self


# Garbage until the collector runs.
def cycles(body, outcome):
    Node(bytearray(IMAGE))


CALLS = [0]


@functools.lru_cache(maxsize=None)
def head_of(number):
    return bytearray(IMAGE)


def lru_none(body, outcome):
    CALLS[0] += 1
    head_of(CALLS[0])


@functools.lru_cache(maxsize=8)
def bounded_head_of(number):
    return bytearray(IMAGE)


def lru_bounded(body, outcome):
    CALLS[0] += 1
    bounded_head_of(CALLS[0])


HISTORY = []


def module_list(body, outcome):
    if outcome == "invalid":
        HISTORY.append({"kind": outcome, "image": bytearray(IMAGE)})


BY_NUMBER = {}


def module_dict(body, outcome):
    BY_NUMBER[len(BY_NUMBER)] = bytearray(IMAGE)


FAILURES = []


# Only small objects: a dict of four values.
def small(body, outcome):
    if outcome != "ok":
        number = len(FAILURES) + 100_000
        FAILURES.append({"id": str(number), "kind": outcome, "size": number, "at": float(number)})


LISTENERS = []


def closure(body, outcome):
    image = bytearray(IMAGE)
    LISTENERS.append(lambda: image)


STREAMS = []


def chunks(image):
    yield len(image)
    yield image


def generator(body, outcome):
    stream = chunks(bytearray(IMAGE))
    next(stream)
    STREAMS.append(stream)


LOCAL = threading.local()


def thread_local(body, outcome):
    if not hasattr(LOCAL, "images"):
        LOCAL.images = []
    LOCAL.images.append(bytearray(IMAGE))


LAST = [None]


# Each error has the one before as its context.
def context_chain(body, outcome):
    if outcome == "ok":
        return
    error = ImageError("broken", bytearray(IMAGE))
    error.__context__ = LAST[0]
    LAST[0] = error


# Each error has the one before as its cause.
def cause_chain(body, outcome):
    if outcome == "ok":
        return
    error = ImageError("broken", bytearray(IMAGE))
    error.__cause__ = LAST[0]
    LAST[0] = error


class Session:
    __slots__ = ("image",)

    def __init__(self, image):
        self.image = image


SESSIONS = []


def slots(body, outcome):
    SESSIONS.append(Session(bytearray(IMAGE)))


class Record:
    def __init__(self, image):
        self.image = image

    def describe(self):
        return len(self.image)


RECORDS = []


def attributes(body, outcome):
    RECORDS.append(Record(bytearray(IMAGE)))


CALLBACKS = []


def bound_method(body, outcome):
    CALLBACKS.append(Record(bytearray(IMAGE)).describe)


SEEN = set()


def set_of_records(body, outcome):
    SEEN.add(Record(bytearray(IMAGE)))


QUEUE = collections.deque()


def deque(body, outcome):
    QUEUE.append(bytearray(IMAGE))


ORDERED = collections.OrderedDict()


# The nodes of the order are blocks without an object.
def ordered(body, outcome):
    ORDERED[len(ORDERED)] = bytes(100)


MESSAGES = []


# The host gets a copy of the text, which the text keeps.
def messages(body, outcome):
    if outcome == "invalid":
        MESSAGES.append(f"Höhe {len(MESSAGES) + 100_000}, größer als erlaubt")
        raise Err(Failure_InvalidInput(MESSAGES[-1]))


CHECKS = []


def annotated(body, outcome):
    image = bytearray(IMAGE)

    def check(size: int, name: str = "image") -> bool:
        return len(image) == size

    CHECKS.append(check)


GROUPS = []


def exception_group(body, outcome):
    if outcome != "ok":
        GROUPS.append(ExceptionGroup("all broken", [ImageError(bytearray(IMAGE))]))


# Each text that was not seen before stays in the registry of the module.
def warned(body, outcome):
    CALLS[0] += 1
    warnings.warn(f"image {CALLS[0] + 100_000} is unusual", UserWarning, stacklevel=1)


# Bounded by the module `re`: 512 patterns.
def patterns(body, outcome):
    CALLS[0] += 1
    re.compile(f"a{CALLS[0]}")


ALIVE = weakref.WeakValueDictionary()
GONE = [0]


def weak_values(body, outcome):
    record = Record(bytearray(IMAGE))
    ALIVE[len(GONE)] = record
    weakref.finalize(record, GONE.__setitem__, 0, len(body))


def interned(body, outcome):
    CALLS[0] += 1
    sys.intern(f"a name that is not used again {CALLS[0]}")


CURRENT = contextvars.ContextVar("current")


def context_variable(body, outcome):
    CURRENT.set(bytearray(IMAGE))


def kind(body):
    """Judges a body as the leak guests do."""
    if body[:2] == b"\xff\xd8":
        return "ok" if b"\xff\xd9" in body[-64:] else "invalid"
    if body[:4] == b"\x89PNG":
        return "ok" if body.endswith(b"\0\0\0\0IEND\xae\x42\x60\x82") else "invalid"
    return "unsupported"


CASES = {case.__name__: case for case in (
    incident, mended_by_reset, mended_by_new, no_leak, cycles, lru_none, lru_bounded, module_list, module_dict, small,
    closure, generator, thread_local, context_chain, cause_chain, slots, attributes, bound_method, set_of_records,
    deque, ordered, messages, annotated, exception_group, warned, patterns, weak_values, interned, context_variable,
)}


class Preprocess(exports.Preprocess):
    def run(self, request, body):
        case = next((value for name, value in request.parameters if name == "case"), "incident")
        outcome = kind(body)
        CASES[case](body, outcome)
        if outcome == "invalid":
            raise Err(Failure_InvalidInput("breaks off"))
        if outcome == "unsupported":
            raise Err(Failure_UnsupportedMediaType("unknown"))
        return Prepared([("image", Tensor([1, 1, 8, 8], TensorType.FP32, bytes(256)))], b"")
