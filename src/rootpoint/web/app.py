"""The API of the page, and its files: FastAPI over one worker for each model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi import Request as Visit
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from rootpoint import __version__
from rootpoint.errors import RootpointError, UnknownNameError, UnsupportedModelError
from rootpoint.web.config import Config, ModelConfig
from rootpoint.web.describing import describe_methods
from rootpoint.web.guard import Guard
from rootpoint.web.requests import (
    Answer,
    CurveRequest,
    ErrorAnswer,
    LayersAnswer,
    LayersRequest,
    Refusal,
    Request,
    SampleName,
)
from rootpoint.web.seen import png, sample_photo
from rootpoint.web.tasks import load, work
from rootpoint.web.worker import QueueFullError, Ticket, Worker, WorkerLostError

STATIC = Path(__file__).parent / "static"
WATCH = 0.5  # seconds between looks whether a visitor is still there

LINES, ARCHIVE, PHOTO = "application/x-ndjson", "application/octet-stream", "image/png"

STATUS: dict[type[Exception], int] = {
    QueueFullError: 503,
    WorkerLostError: 503,
    TimeoutError: 504,
    UnknownNameError: 404,
    RootpointError: 400,
}
"""The status of each kind of error; the first that fits counts."""

ANSWERED = {"unknown": 404, "input": 400, "model": 400}
"""The status of what a worker answers in place of an explanation, by its kind."""


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal} for status in (400, 401, 403, 404, 408, 413, 421, 422, 503, 504)
}
"""The statuses of all that is no answer, as the OpenAPI document lists them."""


def create_app(config: Config, *, host: str = "127.0.0.1", token: str | None = None) -> FastAPI:
    """The page and its API as one ASGI application.

    host    where it will listen: visitors must name it, or a name of this machine's loopback
    token   what visitors must know; None: nothing
    """
    workers = {model.name: _worker(model) for model in config.models}

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        try:
            await _start(workers)
            yield
        finally:
            for worker in workers.values():
                await worker.stop()

    app = FastAPI(
        title="Rootpoint",
        version=__version__,
        summary="Why did the model say that?",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
    )
    app.add_middleware(Guard, host=host, token=token)
    _answer_errors(app)
    _add_pages(app)
    _add_lists(app, config, workers)
    _add_explanations(app, workers)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _sends(media_type: str) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of an answer that is no JSON."""
    return {200: {"description": "The answer", "content": {media_type: {}}}}


def _worker(model: ModelConfig) -> Worker:
    return Worker(load, (model,), work, queue=model.queue, batch=model.batch, timeout=model.timeout)


async def _start(workers: dict[str, Worker]) -> None:
    """Load all models at once. Raises UnsupportedModelError for the first that cannot be."""

    async def start(name: str, worker: Worker) -> None:
        try:
            await worker.start()
        except WorkerLostError as error:
            raise UnsupportedModelError(f"{name} cannot be served: {error}") from error

    try:
        async with asyncio.TaskGroup() as group:
            for each in workers.items():
                group.create_task(start(*each))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/api", include_in_schema=False)
    async def reference() -> FileResponse:
        return FileResponse(STATIC / "api.html")


def _add_lists(app: FastAPI, config: Config, workers: dict[str, Worker]) -> None:
    described: dict[str, Any] = {}

    @app.get("/api/models")
    async def models() -> list[dict[str, Any]]:
        """What is served: each model with its classes, layers, samples and methods."""
        for name, worker in workers.items():
            if name not in described:
                described[name] = await _answer(worker.submit(("describe", None)))
        return [described[model.name] for model in config.models]

    @app.get("/api/methods")
    async def methods() -> list[dict[str, Any]]:
        """Every method with its parameters, of which the page makes its forms."""
        return await anyio.to_thread.run_sync(describe_methods)

    @app.get("/api/samples/{name}", response_class=Response, responses=_sends(PHOTO))
    async def sample(name: SampleName) -> Response:
        """A sample photo."""
        return Response(await anyio.to_thread.run_sync(_sample, name), media_type=PHOTO)


def _add_explanations(app: FastAPI, workers: dict[str, Worker]) -> None:
    def submit(task: str, request: Any, model: str, key: Any = None) -> Ticket:
        if model not in workers:
            raise UnknownNameError("model", model, workers)
        return workers[model].submit((task, request), key)

    @app.post("/api/explain")
    async def explain(request: Request, visit: Visit) -> Answer:
        """Why did the model say that? One answer, when all is computed."""
        ticket = submit("explain", request, request.model, request.alike)
        return await _answer_visitor(ticket, visit)

    @app.post("/api/explain/stream", response_class=Response, responses=_sends(LINES))
    async def stream(request: Request) -> Response:
        """The same as lines of JSON: queued, progress, and then the answer or an error."""
        ticket = submit("explain", request, request.model, request.alike)
        return _lines(ticket, lambda answer: {"event": "answer", "answer": answer.model_dump()})

    @app.post("/api/layers")
    async def layers(request: LayersRequest, visit: Visit) -> LayersAnswer:
        """Relevance layer by layer, where it was absorbed, and which rule is where."""
        return await _answer_visitor(submit("layers", request, request.model), visit)

    @app.post("/api/curve", response_class=Response, responses=_sends(LINES))
    async def curve(request: CurveRequest) -> Response:
        """What is left of the score while what is relevant goes, as lines of JSON."""
        ticket = submit("curve", request, request.requests[0].model)
        return _lines(ticket, lambda _: {"event": "done"})

    @app.post("/api/export", response_class=Response, responses=_sends(ARCHIVE))
    async def export(request: Request, visit: Visit) -> Response:
        """The explanation as a NumPy archive (NPZ)."""
        found = await _answer_visitor(submit("export", request, request.model), visit)
        if isinstance(found, Response):
            return found
        return Response(found, media_type=ARCHIVE)


async def _answer(ticket: Ticket) -> Any:
    async for event, *value in ticket:
        if event == "answer":
            return value[0]
    raise WorkerLostError("the worker stopped without an answer: ask again")


async def _answer_visitor(ticket: Ticket, visit: Visit) -> Any:
    """The answer, unless the visitor leaves before, which cancels the work."""
    found: list[Any] = []

    async def leave() -> None:
        while not await visit.is_disconnected():
            await anyio.sleep(WATCH)
        group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            found.append(await _answer(ticket))
            group.cancel_scope.cancel()
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    finally:
        ticket.cancel()
    if not found:
        return Response(status_code=499)
    return _failed(found[0]) if isinstance(found[0], ErrorAnswer) else found[0]


def _failed(said: ErrorAnswer, status: int | None = None) -> Response:
    status = status or ANSWERED[said.kind]
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(Refusal(error=said).model_dump(), status, headers)


def _lines(ticket: Ticket, last: Callable[[Any], dict[str, Any]]) -> Response:
    """Events as lines of JSON; a visitor who leaves cancels the work."""

    async def lines() -> AsyncIterator[str]:
        yield _line({"event": "queued"})
        try:
            async for event, *values in ticket:
                if isinstance(values[0], ErrorAnswer):
                    yield _line({"event": "error", "error": values[0].model_dump()})
                elif event == "answer":
                    yield _line(last(values[0]))
                elif event == "point":
                    yield _line({"event": "point", **values[0]})
                else:
                    yield _line({"event": event, "done": values[0], "total": values[1]})
        except (RootpointError, TimeoutError) as error:
            yield _line({"event": "error", "error": _said(error).model_dump()})
        finally:
            ticket.cancel()

    return StreamingResponse(lines(), media_type=LINES)


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, allow_nan=False, separators=(",", ":")) + "\n"


def _said(error: Exception) -> ErrorAnswer:
    return ErrorAnswer(kind=type(error).__name__, message=str(error))


def _answer_errors(app: FastAPI) -> None:
    """Whatever goes wrong is answered as a `Refusal`."""

    async def refused(_: Visit, error: Exception) -> Response:
        status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
        return _failed(_said(error), status)

    async def invalid(_: Visit, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _failed(ErrorAnswer(kind="InvalidRequest", message=_first(error)), 422)

    async def unknown(_: Visit, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _failed(ErrorAnswer(kind="Refused", message=error.detail), error.status_code)

    async def broken(_: Visit, error: Exception) -> Response:
        message = "the server failed at this request; what it printed says why"
        return _failed(ErrorAnswer(kind="InternalError", message=message), 500)

    for kind in STATUS:
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(Exception, broken)


def _first(error: RequestValidationError) -> str:
    """The first thing that is wrong with a request, and where."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first['ctx']['error']}"
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _sample(name: str) -> bytes:
    return png(sample_photo(name))
