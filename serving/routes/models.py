"""Which model answers, and the way back to the previous one."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.failures import Refusal
from serving.jobs.queue import WorkerLostError
from serving.routes.health import model_shown
from serving.service import service_of
from stages.common.errors import CapillaryError

router = APIRouter(prefix="/v1/models")


@router.get("")
async def show_models(request: Request) -> Response:
    """The model that answers and what answered before it."""
    service = service_of(request)
    service.owner(request)
    served = service.models.served
    current = None if served is None else model_shown(served)
    return JSONResponse(
        {"current": current, "previous": service.models.previous or None, "failure": service.models.failure}
    )


@router.post("/previous")
async def go_back(request: Request) -> Response:
    """Let the previous model answer again; it stays until the alias moves on."""
    service = service_of(request)
    service.tokens.refuse_unless_admin(request.headers.get("authorization"))
    try:
        served = await service.models.go_back()
    except CapillaryError as error:
        raise Refusal(409, error.what, error.remedy) from None
    except WorkerLostError:
        raise Refusal(409, "the previous model could not be started", "look at the service's log") from None
    return JSONResponse({"current": model_shown(served)})
