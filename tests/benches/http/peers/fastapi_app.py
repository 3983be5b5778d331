"""FastAPI under gunicorn, with one uvicorn worker per core:

    gunicorn -w 2 -k uvicorn_worker.UvicornWorker fastapi_app:app

The handler computes on the event loop. Blocking the loop costs nothing, because there are as many processes as cores. A
thread per request (a `def` endpoint) was not measured.
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
