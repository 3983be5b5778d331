"""FastAPI under gunicorn, one uvicorn worker for each core:

    gunicorn -w 2 -k uvicorn_worker.UvicornWorker fastapi_app:app

The work is done on the event loop: with as many processes as cores there is nothing that the loop could do meanwhile. A
thread for each request (a `def` endpoint) was not measured.
"""

import json

from fastapi import FastAPI, Request, Response

import work

app = FastAPI()
model = work.session()


@app.get("/ready")
async def ready() -> Response:
    return Response()


@app.post("/infer")
async def infer(request: Request) -> Response:
    body = await request.body()
    return Response(json.dumps(work.answer(model, body)), media_type="application/json")
