"""A custom runtime for MLServer. The image is one BYTES element in the JSON of the Open Inference Protocol, with the
content type `base64`."""

import json
import os
import sys

from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import work


class Classifier(MLModel):
    async def load(self) -> bool:
        self.model = work.session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        [body] = Base64Codec.decode_input(payload.inputs[0])
        answer = json.dumps(work.answer(self.model, body))
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("answer", [answer])])
