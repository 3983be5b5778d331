"""The preprocess stage `{{name}}`: converts the bytes of the body into the tensor `image` of f32 values from 0 to 1.

Configuration: `shape`, the sizes of the tensor's dimensions, for example `[1, 1, 8, 8]`. The body must have one byte per
element. Without `shape`, the tensor is one row with all bytes of the body.
"""

from plimsoll_sdk import InvalidInput, TooLarge, config, prepared, tensors

import compute


class Preprocess:
    def run(self, request, body):
        config.only("shape")
        shape = config.items("shape", None, item=int) or [1, len(body)]
        try:
            compute.check(shape, len(body))
        except compute.TooShort as error:
            raise InvalidInput(str(error)) from None
        except compute.TooLong as error:
            raise TooLarge(str(error)) from None
        image = tensors.tensor(shape, compute.scaled(body))
        # The context is passed to postprocessing unchanged. Example: the size of the original image.
        return prepared({"image": image}, context=b"")
