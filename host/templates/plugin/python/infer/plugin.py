"""The infer stage `{{name}}`: passes the tensors from preprocessing to the pipeline's model, which the host runs.

Configuration: `model`, the name of a model in `plimsoll.toml`. The host sets it to the `model` of the pipeline.
"""

from componentize_py_types import Err
from plimsoll_sdk import Internal, TooLarge, config
from wit_world.imports import graph
from wit_world.imports.errors import ErrorCode


class Infer:
    def run(self, request, inputs):
        model = config.text("model")
        try:
            # By name, because the host has already loaded the model. It does not let a stage use any other model.
            context = graph.load_by_name(model).init_execution_context()
            # Tensors are handles: neither the inputs nor the outputs are copied into the plugin. To change tensors
            # before or after the model, read and create them here with `plimsoll_sdk.tensors`.
            return context.compute(inputs)
        except Err as error:
            failure = TooLarge if error.value.code() == ErrorCode.TOO_LARGE else Internal
            raise failure(error.value.data()) from None
