"""Helpers for Plimsoll plugins in Python.

A plugin is one module with the class `Preprocess`, `Infer` or `Postprocess`, whose method `run` the host calls once for
each request, in a new instance:

    class Preprocess:
        def run(self, request, body):            # -> Prepared
    class Infer:
        def run(self, request, inputs):          # -> [(name, tensor)]
    class Postprocess:
        def run(self, request, outputs, context):  # -> Reply

`request` has `id`, `content_type` (or None) and `parameters`, the query parameters as pairs. `body` and `context` are
bytes. `inputs` and `outputs` are pairs of a name and a tensor.

To end a request with an error for the caller, raise `UnsupportedMediaType` (status 415), `InvalidInput` (422) or
`TooLarge` (413). `Internal` (500) is a fault of the plugin, its configuration or the model; its text is only logged.
Any other exception that leaves `run` is a trap: status 500, with the traceback in the log.

Import modules at the top of the file. The build runs the top of the file once and stores the state of the interpreter.
Functions of the host (`config`, `assets`, `tensors`) can be called only in `run`.
"""

from . import assets, config, tensors
from .failures import Internal, InvalidInput, TooLarge, UnsupportedMediaType
from .results import json_reply, prepared, reply

__all__ = [
    "Internal",
    "InvalidInput",
    "TooLarge",
    "UnsupportedMediaType",
    "assets",
    "config",
    "json_reply",
    "prepared",
    "reply",
    "tensors",
]
