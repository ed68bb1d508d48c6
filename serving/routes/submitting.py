"""From a request's body to an accepted job."""

import asyncio
import contextlib
import errno
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast

from starlette.requests import Request as HttpRequest

from serving.access.urls import fetch, file_name_of, full_disk, room_for
from serving.archives.unpacking import archive_suffix_of, unpack
from serving.failures import Refusal
from serving.jobs.files import stack_file
from serving.jobs.record import MASK_SUFFIXES, Job, Request
from serving.service import Service
from serving.settings import listed
from serving.uploads import SizeLimit, Upload, declared_size, plain_name, receive
from stages.common.imaging.suffixes import DETACHED_SUFFIXES, HDF5_SUFFIXES, SUFFIXES, ZARR_SUFFIXES, suffix_of
from stages.ingest.sources.archives.archive import ARCHIVE_SUFFIXES

YES, NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
FETCH_S = 600.0
# the stacks that are one file, and what packs the others
TAKEN = (*(suffix for suffix in SUFFIXES if suffix not in (*ZARR_SUFFIXES, *DETACHED_SUFFIXES)), *ARCHIVE_SUFFIXES)


async def submit(request: HttpRequest, service: Service, limit: SizeLimit) -> Job:
    """Read what was sent and put it into the queue. Raises Refusal; nothing is kept then."""
    owner = service.owner(request)
    size = declared_size(request, limit)
    job_id = uuid.uuid4().hex
    with _refusing_full_disk(), service.queue.arriving(owner), service.queue.store.incoming(job_id) as incoming:
        room_for(incoming, size)
        body = incoming / "body"
        upload = await receive(request, body, limit, service.settings.idle_s)
        if "url" in upload.fields:
            upload = await _fetched(upload, body, service, limit.most_bytes)
        wanted = await _placed(body, _request_of(upload), limit)
        return service.queue.submit(job_id, owner, wanted, incoming)


@contextlib.contextmanager
def _refusing_full_disk() -> Iterator[None]:
    """A body may have declared no size, and others fill the disk at the same time."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise full_disk() from None


async def _fetched(upload: Upload, body: Path, service: Service, most_bytes: int) -> Upload:
    """The upload with the stack that its field `url` names."""
    if upload.file_name is not None:
        raise Refusal(422, "there is a stack and a URL", "send one of them")
    url = upload.fields["url"]
    body.unlink()
    await asyncio.to_thread(fetch, url, listed(service.settings.urls), body, most_bytes, FETCH_S)
    return Upload(fields=upload.fields, file_name=plain_name(file_name_of(url)), size=body.stat().st_size)


async def _placed(body: Path, wanted: Request, limit: SizeLimit) -> Request:
    """Give `body` the name of the job's stack, or unpack the one that it holds; returns the request that says so."""
    file = body.rename(stack_file(body.parent, wanted))
    if wanted.suffix in ARCHIVE_SUFFIXES:
        unpacked = await asyncio.to_thread(unpack, file, wanted.file_name, limit)
        wanted = wanted.model_copy(update={"unpacked": unpacked})
    if wanted.dataset and suffix_of(stack_file(body.parent, wanted).name) not in HDF5_SUFFIXES:
        raise Refusal(422, "dataset names an array, and the stack is not an HDF5 file", "leave dataset out")
    return wanted


def _request_of(upload: Upload) -> Request:
    """The fields, judged."""
    if upload.file_name is None:
        raise Refusal(422, "there is no stack", "send it in the multipart field `stack`, or an address in `url`")
    if upload.size == 0:
        raise Refusal(422, "the stack is empty", "send a file with content")
    suffix = _suffix(upload.file_name)
    mask_suffix = upload.fields.get("format", ".tif")
    if mask_suffix not in MASK_SUFFIXES:
        raise Refusal(422, f"there is no format `{mask_suffix}`", f"the formats are {', '.join(MASK_SUFFIXES)}")
    return Request(
        file_name=upload.file_name,
        suffix=suffix,
        dataset=_dataset(upload.fields.get("dataset", "")),
        spacing_um=_spacing(upload.fields.get("spacing_um")),
        mask_suffix=cast(Literal[".tif", ".nii.gz"], mask_suffix),
        probability=_switch(upload.fields, "probability"),
        picture=_switch(upload.fields, "picture"),
        view=_switch(upload.fields, "view"),
    )


def _suffix(name: str) -> str:
    """That of a stack which is one file, or of an archive."""
    suffix = archive_suffix_of(name) or suffix_of(name)
    if suffix is None:
        raise Refusal(415, f"the file name `{name}` is not that of a stack", f"name it as one of {', '.join(TAKEN)}")
    if suffix not in TAKEN:
        kind = "is a folder" if suffix in ZARR_SUFFIXES else "has its voxels in another file"
        raise Refusal(
            415, f"a {suffix} {kind}, and this is one file", "pack it with its data into one zip, and send that"
        )
    return suffix


def _dataset(text: str) -> str:
    """The place of an array in an HDF5 file, without slashes around it."""
    if not text.isprintable():
        raise Refusal(422, f"dataset is not the name of an array: {text}", "send one such as /volumes/raw")
    return text.strip("/")


def _spacing(text: str | None) -> tuple[float, float, float] | None:
    """Z,Y,X in µm; None if the file's own counts."""
    if not text:
        return None
    wrong = Refusal(422, f"spacing_um is not three lengths above 0: {text}", "send Z,Y,X in µm, such as 5,0.994,0.994")
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise wrong from None
    if len(numbers) != 3 or not all(0 < number < float("inf") for number in numbers):
        raise wrong
    return numbers[0], numbers[1], numbers[2]


def _switch(fields: dict[str, str], name: str) -> bool:
    value = fields.get(name, "").lower()
    if value not in (*YES, *NO):
        raise Refusal(422, f"{name} is neither yes nor no: {value}", f"send {name}=yes, or leave it out")
    return value in YES
