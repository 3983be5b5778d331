"""The failures of a stage, as exceptions. Each takes a text that says what is wrong and, if possible, how to mend it."""

from componentize_py_types import Err
from wit_world.imports.types import (
    Failure_Internal,
    Failure_InvalidInput,
    Failure_TooLarge,
    Failure_UnsupportedMediaType,
)


class _Failure(Err):
    """A failure whose text the interface of the host carries."""

    case = None

    def __init__(self, message: str):
        super().__init__(self.case(message))
        self.message = message

    def __str__(self):
        return self.message


class UnsupportedMediaType(_Failure):
    """The plugin does not support the format of the body: status 415. The caller gets the text."""

    case = Failure_UnsupportedMediaType


class InvalidInput(_Failure):
    """The body or a parameter is invalid: status 422. The caller gets the text."""

    case = Failure_InvalidInput


class TooLarge(_Failure):
    """Processing the body would exceed a limit of the plugin: status 413. The caller gets the text."""

    case = Failure_TooLarge


class Internal(_Failure):
    """A fault of the plugin, its configuration or the model: status 500. The text is only logged."""

    case = Failure_Internal
