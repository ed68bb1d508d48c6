"""Jobs: submit, look, fetch the results, cancel; and a small stack at once."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from serving.failures import Refusal
from serving.jobs.files import media_type, result_files
from serving.jobs.record import Job, State
from serving.routes.submitting import submit
from serving.service import Service, service_of
from serving.uploads import SizeLimit

router = APIRouter(prefix="/v1")


@router.post("/jobs", status_code=202)
async def submit_job(request: Request) -> Response:
    """Take a stack (multipart field `stack`, or an address in `url`); answers 202 with the job's id at once."""
    service = service_of(request)
    remedy = "send a smaller stack, or raise CAPILLARY_SERVE_UPLOAD_MB"
    job = await submit(request, service, SizeLimit(most_bytes=service.settings.upload_bytes, remedy=remedy))
    headers = {"Location": f"/v1/jobs/{job.id}"}
    return JSONResponse(shown(job, service), status_code=202, headers=headers)


@router.post("/segment")
async def segment_at_once(request: Request) -> Response:
    """Take a small stack and answer with its mask; 202 with the job's id if it takes longer than a client waits."""
    service = service_of(request)
    remedy = "send it to /v1/jobs, or raise CAPILLARY_SERVE_AT_ONCE_MB"
    job = await submit(request, service, SizeLimit(most_bytes=service.settings.at_once_bytes, remedy=remedy))
    ended = await service.queue.wait(job.id, service.settings.at_once_s) or job
    if ended.state is State.DONE:
        return _file(ended, "mask", service)
    if ended.failure is not None:
        raise Refusal(422, ended.failure.what, ended.failure.remedy)
    return JSONResponse(shown(ended, service), status_code=202, headers={"Location": f"/v1/jobs/{job.id}"})


@router.get("/jobs")
async def list_jobs(request: Request) -> Response:
    """The caller's jobs, the newest first."""
    service = service_of(request)
    owner = service.owner(request)
    own = [job for job in reversed(service.queue.store.everywhere()) if job.owner == owner]
    places = service.queue.places()
    return JSONResponse({"jobs": [shown(job, service, places) for job in own]})


@router.get("/jobs/{job_id}")
async def show_job(request: Request, job_id: str) -> Response:
    """How far a job is, and what came of it."""
    service = service_of(request)
    return JSONResponse(shown(_own_job(request, job_id), service))


@router.delete("/jobs/{job_id}")
async def cancel_job(request: Request, job_id: str) -> Response:
    """Cancel a job that waits or runs; forget one that ended, with its files."""
    service = service_of(request)
    job = _own_job(request, job_id)
    if not service.queue.store.owns(job.id):
        raise Refusal(
            409,
            "another service behind this address has the job",
            "send it again with the cookies of the answer to the submission",
        )
    if not job.state.has_ended:
        return JSONResponse(shown(service.queue.cancel(job), service))
    service.queue.store.remove(job.id)
    return Response(status_code=204)


@router.get("/jobs/{job_id}/{name}")
async def fetch_result(request: Request, job_id: str, name: str) -> Response:
    """The mask, the probability or the picture of a job that is done; 409 before that."""
    service = service_of(request)
    job = _own_job(request, job_id)
    if job.state is not State.DONE:
        why = f": {job.failure.what}" if job.failure else ""
        raise Refusal(409, f"the job is {job.state.value}{why}", "poll the job until its state is done")
    return _file(job, name, service)


def shown(job: Job, service: Service, places: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The job as clients see it; `places` are the queue's, where it was asked already."""
    fields = job.model_dump(mode="json", exclude={"owner", "format", "attempts"}, exclude_none=True)
    if job.state is State.QUEUED:
        ahead = (service.queue.places() if places is None else places).get(job.id)
        fields |= {} if ahead is None else {"ahead": ahead}
    if job.state is State.DONE:
        fields["links"] = {name: f"/v1/jobs/{job.id}/{name}" for name in _results(job, service)}
    return fields


def _own_job(request: Request, job_id: str) -> Job:
    """The job if it is the caller's; others' jobs do not exist for a caller."""
    service = service_of(request)
    owner = service.owner(request)
    job = service.queue.store.get(job_id)
    if job is None or job.owner != owner:
        raise Refusal(404, "there is no such job", "list yours with GET /v1/jobs; old ones are removed")
    return job


def _results(job: Job, service: Service) -> dict[str, Any]:
    return result_files(service.queue.store.folder(job.id), job.request)


def _file(job: Job, name: str, service: Service) -> Response:
    file = _results(job, service).get(name)
    if file is None:
        raise Refusal(404, f"the job has no {name}", "ask for it when you submit: probability=yes, picture=yes")
    assert job.model is not None
    stem = job.request.file_name.removesuffix(job.request.suffix)
    headers = {"X-Model-Version": job.model.version, "X-Weights-SHA256": job.model.weights_sha256}
    whole = "".join(file.suffixes)
    return FileResponse(file, media_type=media_type(file), filename=f"{stem}_{name}{whole}", headers=headers)
