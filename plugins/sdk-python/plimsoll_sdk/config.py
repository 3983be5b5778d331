"""Reads the plugin's configuration: the table `config` of a stage in `plimsoll.toml`.

The host passes numbers, booleans and strings as text, and a list as the texts of its items joined by commas. A value that
is wrong raises `Internal`, because it is not the caller's fault; the text contains the key and the value.
"""

import math

from wit_world.imports import store

from .failures import Internal

_REQUIRED = object()


def text(key, default=_REQUIRED):
    """The text of a key, or `default` if the key is not set. Without a default the key is required."""
    value = store.get(key)
    if value is not None:
        return value
    if default is _REQUIRED:
        raise Internal(f"configuration key `{key}` is missing")
    return default


def integer(key, default=_REQUIRED, *, minimum=None, maximum=None):
    """The whole number of a key."""
    return _number(key, default, int, "a whole number", minimum, maximum)


def number(key, default=_REQUIRED, *, minimum=None, maximum=None):
    """The number of a key, as a float. NaN and infinity are refused."""
    return _number(key, default, _finite, "a number", minimum, maximum)


def flag(key, default=_REQUIRED):
    """The boolean of a key."""
    value = text(key, default)
    if not isinstance(value, str):
        return value
    if value not in ("true", "false"):
        raise Internal(f"configuration key `{key}`: {value!r} is neither true nor false")
    return value == "true"


def choice(key, choices, default=_REQUIRED):
    """The text of a key that must be one of `choices`."""
    value = text(key, default)
    if value is not default and value not in choices:
        raise Internal(f"configuration key `{key}`: {value!r} is not one of {', '.join(choices)}")
    return value


def items(key, default=_REQUIRED, *, item=str):
    """The items of a list, each converted by `item` (`str`, `int`, `float` or a function that raises ValueError)."""
    value = text(key, default)
    if not isinstance(value, str):
        return value
    return [_converted(key, part.strip(), item, f"an item of type {item.__name__}") for part in value.split(",")]


def only(*known):
    """Refuses keys that are not in `known`, so that a misspelt key is found by the sample of a deployment."""
    for key, _ in store.get_all():
        if key not in known:
            raise Internal(f"unknown configuration key `{key}`; known keys: {', '.join(known)}")


def _number(key, default, convert, meaning, minimum, maximum):
    value = text(key, default)
    if not isinstance(value, str):
        return value
    value = _converted(key, value.strip(), convert, meaning)
    if minimum is not None and value < minimum:
        raise Internal(f"configuration key `{key}`: {value} is less than {minimum}")
    if maximum is not None and value > maximum:
        raise Internal(f"configuration key `{key}`: {value} is greater than {maximum}")
    return value


def _finite(value):
    value = float(value)
    if not math.isfinite(value):
        raise ValueError
    return value


def _converted(key, value, convert, meaning):
    try:
        return convert(value)
    except ValueError:
        raise Internal(f"configuration key `{key}`: {value!r} is not {meaning}") from None
