"""From scratch to workspace: the outs of a stage that ended well, checked first, each replaced in one step."""

import ctypes
import itertools
import os
import shlex
import shutil
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from capillary.planning.plan import INPUTS
from capillary.publishing.take_over import MOST_DEPTH, foreign_kind, take_over
from stages.common.errors import CapillaryError, ExitCode, UndeclaredError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h
_KNOWS_EFFECTIVE_IDS = os.access in os.supports_effective_ids
_SHOWN_DEPTH = 3  # folders of a name that is too long to be read


def check_scratch(work: Path, outs: Sequence[str], links: Collection[Path], address: str) -> None:
    """Raise CapillaryError when the working folder `work` holds anything but whole outs of plain files and folders.

    `links` are the links to deps in it. Finds what the guard cannot see: files written by other programs or C code.
    """
    for out in outs:
        if not os.path.lexists(work / out):
            raise CapillaryError(
                f"{address} ended without writing its out {out}",
                file=out,
                remedy="write it in the stage, or remove it from the entry in dvc.yaml",
                code=ExitCode.UNEXPECTED,
            )
        refuse_foreign(
            work / out, f"the out {out} of {address}", "write plain files and folders only, which you may read"
        )
    if stray := sorted(_stray(work, outs, links)):
        raise UndeclaredError(
            f"{address} wrote what dvc.yaml does not declare",
            file=", ".join(str(path.relative_to(work)) for path in stray[:5]),
            remedy="declare it under outs in dvc.yaml, or write it to a temporary folder (tempfile, TMPDIR)",
        )


def refuse_foreign(place: Path, name: str, remedy: str, *, cache: Path | None = None) -> None:
    """Raise CapillaryError when `place`, called `name`, is or holds anything but folders and readable plain files.

    A stage is not trusted: a link to one of the user's keys would be read, cached and pushed as if it were a result, or
    mounted for the next stage, and a pipe would be waited for. With `cache`, links into that folder (DVC's cache) and
    into `place` itself may stay.
    """
    allowed = [] if cache is None else [_real_place(place), Path(os.path.realpath(cache))]
    for path, kind in _foreign(place):
        target = Path(os.path.realpath(path))
        if kind == "link" and any(target.is_relative_to(folder) for folder in allowed):
            continue
        raise UndeclaredError(
            f"{name} {'is' if path == place else 'holds'} a {kind}",
            file=place.name if path == place else path.relative_to(place),
            value=str(path.readlink()) if kind == "link" else None,
            remedy=remedy,
        )


def _real_place(place: Path) -> Path:
    """Where `place` lies, without following `place` itself."""
    return Path(os.path.realpath(place.parent)) / place.name


def _foreign(place: Path) -> Iterator[tuple[Path, str]]:
    """What is neither a readable plain file nor a folder in `place`, itself included, and which kind it is."""
    inner = (Path(parent, name) for parent, folders, files in _walk(place) for name in sorted([*folders, *files]))
    for path in itertools.chain([place], inner):
        mode = path.lstat().st_mode
        kind = foreign_kind(mode) or _trouble_for_dvc(path, mode)
        if kind is not None:
            yield path, kind


def _trouble_for_dvc(path: Path, mode: int) -> str | None:
    """At what it is called here DVC would end, when the former out is gone."""
    if stat.S_ISREG(mode) and not os.access(path, os.R_OK, effective_ids=_KNOWS_EFFECTIVE_IDS):
        return "file that cannot be read"
    if any("\udc80" <= sign <= "\udcff" for sign in path.name):  # bytes that Python could not decode
        return "name that is not UTF-8"
    return None


def _walk(place: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, but raises CapillaryError for a folder that cannot be listed, and for folders in folders without end.

    os.walk takes the first for an empty one; whoever knows a name in it could still follow a link there. In the second
    it calls itself too often.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return  # `place` is a file, or is not there
        raise UndeclaredError(
            "a stage left a folder that cannot be looked into",
            file=error.filename,
            value=error.strerror,
            remedy=f"write folders that you can list, or remove it: chmod -R u+rwX {shlex.quote(str(error.filename))}",
        ) from error

    for parent, folders, files in os.walk(place, onerror=refuse):
        if len(depth := Path(parent).relative_to(place).parts) > MOST_DEPTH:
            raise UndeclaredError(
                f"a stage left folders in folders, more than {MOST_DEPTH} deep",
                file=place.joinpath(*depth[:_SHOWN_DEPTH], "…"),
                remedy=f"write fewer folders in folders, or remove them: rm -rf {shlex.quote(str(place / depth[0]))}",
            )
        yield parent, folders, files


def _stray(work: Path, outs: Sequence[str], links: Collection[Path]) -> Iterator[Path]:
    """Files that are neither in an out nor declared; hidden temporary files next to an out do not count."""
    whole = {work / out for out in outs}
    inputs = {work / name for name in INPUTS}
    hidden = {(out.parent, f".{out.name}.") for out in whole}
    for parent, folders, files in _walk(work):
        place = Path(parent)
        folders[:] = [name for name in folders if place / name not in whole and place / name not in links]
        linked = [name for name in folders if (place / name).is_symlink()]
        for name in [*files, *linked]:
            path = place / name
            temporary = any(place == folder and name.startswith(start) for folder, start in hidden)
            if not (path in whole or path in links or temporary or path in inputs):
                yield path


def publish(work: Path, outs: Sequence[str], root: Path) -> None:
    """Move `outs` from `work` into the workspace `root`. Each previous out stands until the new one takes its place."""
    for out in outs:
        publish_out(work, out, root / out)
        log.debug(f"{out} is in the workspace")


def publish_out(work: Path, out: str, target: Path) -> None:
    """Move the file or folder `out` of a stage's folder `work` to `target`, which stands until the new one takes its
    place. Raises UndeclaredError for a link or the like, also for one that took a file's place after all checks.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    ready = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        take_over(work, out, ready)
        if os.path.lexists(target) and (ready.is_dir() or target.is_dir()):
            _swap(ready, target)
        else:
            ready.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        _remove(ready)


def publish_file(source: Path, target: Path) -> None:
    """The same for a file or folder in a folder that can be trusted."""
    publish_out(source.parent, source.name, target)


def _swap(ready: Path, target: Path) -> None:
    """Exchange the two names: in one step on Linux; elsewhere in two, with a moment without `target`."""
    if _exchange(ready, target):
        return
    former = ready.with_suffix(".former")
    target.rename(former)
    try:
        ready.rename(target)
    except BaseException:
        former.rename(target)
        raise
    former.rename(ready)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths by renameat2; False if the system or the file system cannot."""
    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    if swap is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(swap(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
