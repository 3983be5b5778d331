"""The failures of a stage. `raise InvalidInput("…")` ends the request.

Each takes a text that says what is wrong and, if possible, how to mend it. They are functions and not classes, because the
interface of the host accepts the exception `Err` itself, but none that is derived from it.
"""

from componentize_py_types import Err
from wit_world.imports.types import (
    Failure_Internal,
    Failure_InvalidInput,
    Failure_TooLarge,
    Failure_UnsupportedMediaType,
)


def UnsupportedMediaType(message: str) -> Err:
    """The plugin does not support the format of the body: status 415. The caller gets the text."""
    return Err(Failure_UnsupportedMediaType(message))


def InvalidInput(message: str) -> Err:
    """The body or a parameter is invalid: status 422. The caller gets the text."""
    return Err(Failure_InvalidInput(message))


def TooLarge(message: str) -> Err:
    """Processing the body would exceed a limit of the plugin: status 413. The caller gets the text."""
    return Err(Failure_TooLarge(message))


def Internal(message: str) -> Err:
    """A fault of the plugin, its configuration or the model: status 500. The text is only logged."""
    return Err(Failure_Internal(message))
