"""The postprocess stage `{{name}}`: returns the model's outputs, which must be f32 tensors, as JSON.

Reply: `{"outputs":[{"name":"logits","shape":[1,3],"values":[0.5,-1.0,2.25]}, …]}`.
"""

from plimsoll_sdk import Internal, json_reply, tensors

import compute


class Postprocess:
    def run(self, request, outputs, context):
        try:
            return json_reply(compute.answer((name, tensors.shape(t), tensors.values(t)) for name, t in outputs))
        except compute.NotFinite as error:
            # A fault of the model or of this plugin, never of the caller's request.
            raise Internal(str(error)) from None
