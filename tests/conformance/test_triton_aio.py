"""tritonclient's asyncio clients, with many concurrent requests."""

import asyncio

import tritonclient.grpc.aio as grpc
import tritonclient.http.aio as http
from conftest import label

NAMES = [f"{digit}.jpg" if digit in (3, 7) else f"{digit}.png" for digit in range(10)]


async def infer_all(module, address, image):
    async with module.InferenceServerClient(address) as client:
        assert await client.is_server_live() and await client.is_model_ready("digits")

        async def one(name):
            array = image(name)
            tensor = module.InferInput("image", [1], "BYTES")
            tensor.set_data_from_numpy(array)
            return label((await client.infer("digits", [tensor])).as_numpy("output")[0])

        return await asyncio.gather(*[one(name) for name in NAMES])


def test_http(address, image):
    assert asyncio.run(infer_all(http, address, image)) == [name[0] for name in NAMES]


def test_grpc(address, image):
    assert asyncio.run(infer_all(grpc, address, image)) == [name[0] for name in NAMES]


def test_grpc_stream(address, image):
    async def stream():
        async with grpc.InferenceServerClient(address) as client:

            async def requests():
                for name in NAMES:
                    tensor = grpc.InferInput("image", [1], "BYTES")
                    tensor.set_data_from_numpy(image(name))
                    yield {"model_name": "digits", "inputs": [tensor], "request_id": name}

            found = []
            async for result, error in client.stream_infer(requests()):
                assert error is None
                found.append((result.get_response().id, label(result.as_numpy("output")[0])))
            return found

    assert asyncio.run(stream()) == [(name, name[0]) for name in NAMES]
