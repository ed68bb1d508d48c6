"""The application: routes, refusals as JSON, the model's name on every answer, start and drain."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.access.tokens import refuse_foreign_pages
from serving.failures import Refusal
from serving.routes import health, jobs, models, page
from serving.service import Service

Next = Callable[[Request], Awaitable[Response]]

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    # NiiVue compiles a WebAssembly codec and reads its volumes from blobs
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' blob:; img-src 'self' blob: data:; frame-ancestors 'none'",
}


def create_app(service: Service) -> FastAPI:
    """The application of `service`."""
    app = FastAPI(title="capillary serve", lifespan=_lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    for group in (jobs, models, health, page):
        app.include_router(group.router)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.middleware("http")(_around)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run queue, model and sweep while the application runs; drain at its end."""
    service: Service = app.state.service
    settings = service.settings
    work = [
        asyncio.create_task(service.models.watch(settings.watch_s)),
        asyncio.create_task(service.queue.work()),
        asyncio.create_task(service.queue.sweep(settings.keep_h * 3600)),
    ]
    yield
    await service.queue.drain(settings.grace_s)
    for task in work:
        task.cancel()
    ends = await asyncio.gather(*work, return_exceptions=True)
    await service.models.end()
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def _around(request: Request, call_next: Next) -> Response:
    """What holds for every path."""
    service: Service = request.app.state.service
    try:
        refuse_foreign_pages(
            request.headers.get("host"),
            request.headers.get("origin"),
            is_open=service.tokens.is_open,
            any_name=request.scope["path"] == "/metrics",
        )
        answer = await call_next(request)
    except Refusal as refusal:
        answer = await _refused(request, refusal)
    route = request.scope.get("route")
    path = getattr(route, "path", "other")
    service.figures.answers.labels(route=path, status=str(answer.status_code)).inc()
    answer.headers.update(SECURITY_HEADERS)
    if (served := service.models.served) is not None:
        answer.headers.setdefault("X-Model-Version", served.version)
        answer.headers.setdefault("X-Weights-SHA256", served.weights_sha256)
    return answer


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return JSONResponse(refusal.body(), status_code=refusal.status, headers=refusal.headers)


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = Refusal(error.status_code, str(error.detail), "docs/serve.md lists the paths")
    return JSONResponse(refusal.body(), status_code=error.status_code)
