"""What travels in the batch script of a job for a node that shares no disk: an archive of code and small files.

code/            the packages capillary and stages, as they are on the head
project/         .dvc/config with the remote, and the deps that no cache has: code and configs
job/             the folder of the job (capillary/places/job.py)
apart.json       where the head has all this, and what the node fetches by its hash
"""

import errno
import gzip
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

import capillary
import stages
from capillary.places.held import LOCK_FILE
from capillary.places.job import LOG_FILE
from capillary.places.slurm.submitted import BUNDLE_FILE
from stages.common.errors import DamagedError, UsageError
from stages.common.params import Params
from stages.common.tracking.spool.plain import open_beneath

APART_FILE = "apart.json"
MOST_BYTES = 2_800_000  # of the archive: Slurm's usual limit of a script is 4 MiB, and base64 makes 4 bytes of 3
MOST_ARCHIVE_BYTES = 1 << 33  # of checkpoints, or of a run that waits for its server; packed, and unpacked
_NOT_CARRIED = {"__pycache__", LOCK_FILE, LOG_FILE, BUNDLE_FILE}


class Apart(Params):
    """apart.json. `box` is the job's mailbox, `fetched` has the hash of each dep that comes from the remote."""

    box: str
    root: Path
    folder: Path
    fetched: dict[str, str]


def pack(apart: Apart, config: str, carried: Mapping[str, Path]) -> bytes:
    """The archive of the job in `apart.folder`, with the files and folders `carried` by their names in the project.

    Raises CapillaryError, naming the largest of them, if it does not fit into a batch script.
    """
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as archive,
    ):
        for package in (capillary, stages):
            _add(archive, Path(str(package.__file__)).parent, f"code/{package.__name__}")
        for name, place in carried.items():
            _add(archive, place, f"project/{name}")
        _add(archive, apart.folder, "job")
        _write(archive, "project/.dvc/config", config)
        _write(archive, APART_FILE, apart.model_dump_json())
    if packed.tell() > MOST_BYTES:
        largest = max(carried, key=lambda name: sum(file.stat().st_size for file in _files(carried[name])))
        raise UsageError(
            "what a job has to carry along does not fit into a batch script",
            file=largest,
            value=f"{packed.tell()} bytes, at most {MOST_BYTES}",
            remedy=f"let DVC track it (dvc add {largest}), so that it goes through the remote",
        )
    return packed.getvalue()


def _add(archive: tarfile.TarFile, place: Path, name: str) -> None:
    for file in _files(place):
        info = _info(archive, file, f"{name}/{file.relative_to(place)}" if place.is_dir() else name)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        with file.open("rb") as stream:
            archive.addfile(info, stream)


def _info(archive: tarfile.TarFile, file: Path, name: str) -> tarfile.TarInfo:
    """`file` under `name`, with its content: tarfile makes a link of the second name of a file that has two."""
    info = archive.gettarinfo(str(file), name)
    if info.islnk():
        info.type, info.linkname, info.size = tarfile.REGTYPE, "", file.stat().st_size
    return info


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    yield from (
        file
        for file in sorted(place.rglob("*"))
        if file.is_file() and _NOT_CARRIED.isdisjoint(file.relative_to(place).parts)
    )


def _write(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def tar_of(folder: Path) -> bytes:
    """The files in `folder` as an archive. Raises OSError, also for a file that changes meanwhile."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for file in _files(folder):
            name = str(file.relative_to(folder))
            info = _info(archive, file, name)
            if not info.isreg():
                archive.addfile(info)  # the head refuses it by name
                continue
            with _opened(folder, name) as stream:
                archive.addfile(info, stream)
    return packed.getvalue()


def _opened(folder: Path, name: str) -> IO[bytes]:
    """The stage that writes in `folder` may still run, and swap a file for a link."""
    try:
        return open_beneath(folder, name)
    except ValueError as error:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder / name)) from error


def untar(content: bytes, folder: Path) -> None:
    """Unpack what `tar_of` made into `folder`; DamagedError for anything but plain files, and for too much in it."""
    unpacked_bytes = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for info in archive:
                unpacked_bytes += info.size
                if unpacked_bytes > MOST_ARCHIVE_BYTES:
                    raise _foreign(folder, f"more than {MOST_ARCHIVE_BYTES:,} bytes")
                _unpack(archive, info, folder)
    except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError) as error:  # of names and times
        raise _foreign(folder, error) from error


def _unpack(archive: tarfile.TarFile, info: tarfile.TarInfo, folder: Path) -> None:
    """Not with extractall: before Python 3.11.4 it follows whatever path an archive names."""
    name = PurePosixPath(info.name)
    source = archive.extractfile(info) if info.isreg() else None
    if source is None or name.is_absolute() or ".." in name.parts or not name.parts:
        raise _foreign(folder, info.name)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("wb") as copy:
        shutil.copyfileobj(source, copy)
    os.utime(folder / name, (info.mtime, info.mtime))  # whether an attempt got any further is seen by the times


def _foreign(folder: Path, value: object) -> DamagedError:
    return DamagedError(
        "an archive in the remote is not one that a job made",
        file=folder,
        value=value,
        remedy="check who can write to the remote; remove the job's mailbox there, and repeat the command",
    )
