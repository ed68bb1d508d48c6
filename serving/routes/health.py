"""Health, readiness, figures, and the metadata paths of the Open Inference Protocol."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving import VERSION
from serving.failures import Refusal
from serving.jobs.record import Served
from serving.service import Service, service_of

router = APIRouter()


@router.get("/healthz")
@router.get("/v2/health/live")
async def live() -> Response:
    """The process answers."""
    return JSONResponse({"live": True})


@router.get("/readyz")
@router.get("/v2/health/ready")
async def ready(request: Request) -> Response:
    """A model answers and jobs are taken; 503 with the reason otherwise."""
    service = service_of(request)
    why = _unready(service)
    return JSONResponse({"ready": why is None, **({"reason": why} if why else {})}, status_code=503 if why else 200)


@router.get("/metrics")
async def figures(request: Request) -> Response:
    """For Prometheus; no name of a stack or person is in it."""
    return Response(service_of(request).figures.text(), media_type="text/plain; version=0.0.4")


@router.get("/v2")
async def server_metadata() -> Response:
    """The server, as the protocol wants it. Stacks are large, so inference itself goes through /v1/jobs."""
    return JSONResponse({"name": "capillary", "version": VERSION, "extensions": []})


@router.get("/v2/models/{name}/ready")
@router.get("/v2/models/{name}/versions/{version}/ready")
async def model_ready(request: Request, name: str, version: str | None = None) -> Response:
    """200 if this model answers."""
    _named(request, name, version)
    return JSONResponse({"ready": True})


@router.get("/v2/models/{name}")
@router.get("/v2/models/{name}/versions/{version}")
async def model_metadata(request: Request, name: str, version: str | None = None) -> Response:
    """The model that answers: its version, inputs and outputs."""
    served = _named(request, name, version)
    return JSONResponse(model_shown(served))


def model_shown(served: Served) -> dict[str, Any]:
    """A model as the protocol describes one; shapes are z, y, x, any of each."""
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": "capillary-pytorch",
        "parameters": {"weights_sha256": served.weights_sha256},
        "inputs": [{"name": "stack", "datatype": "FP32", "shape": [-1, -1, -1]}],
        "outputs": [{"name": "mask", "datatype": "UINT8", "shape": [-1, -1, -1]}],
    }


def _unready(service: Service) -> str | None:
    if service.queue.draining:
        return "the service is shutting down"
    if service.models.served is None:
        return service.models.failure or "the model is being loaded"
    return None


def _named(request: Request, name: str, version: str | None) -> Served:
    service = service_of(request)
    service.owner(request)
    served = service.models.served
    if served is None or served.name != name or version not in (None, served.version):
        raise Refusal(404, "no such model answers", "GET /v1/models says which does")
    return served
