"""Errors that a user can act on: what failed, with which value, what to do; one exit code per kind."""

import enum
import errno
from collections.abc import Callable
from typing import ClassVar

from stages.common.text import visible


class ExitCode(enum.IntEnum):
    """Exit codes of every stage and of the capillary command; docs/exit-codes.md lists them for users."""

    UNEXPECTED = 1
    USAGE = 2
    PARAMS = 3
    DATA = 4
    UNDECLARED = 5
    MACHINE = 6
    SERVICE = 7
    MEMORY = 8
    PREFLIGHT = 9
    CELLS_FAILED = 10
    STACKS_FAILED = 10
    DIFFERS = 11
    RANK_LOST = 12
    INTERRUPTED = 130
    TERMINATED = 143


class CapillaryError(Exception):
    """A failure that was foreseen.

    `what` names the failing thing and says what is wrong with it, `remedy` says what to do. `file` and `value` are
    shown on lines of their own when given.
    """

    def __init__(
        self, what: str, *, remedy: str, code: ExitCode, file: object | None = None, value: object | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.code = code
        self.file = file
        self.value = value

    def __reduce__(self) -> tuple[Callable[..., "CapillaryError"], tuple[object, ...]]:
        """Cross from a worker process whole; exceptions with keyword arguments do not by themselves."""
        return _rebuild, (type(self), self.args, self.__dict__)

    def report(self) -> str:
        """The one-screen text that a user sees."""
        lines = [f"error: {_indented(self.what)}"]
        if self.file is not None:
            lines.append(f"  file:   {visible(str(self.file))}")
        if self.value is not None:
            lines.append(f"  value:  {_indented(str(self.value))}")
        lines.append(f"  remedy: {_indented(self.remedy)}")
        return "\n".join(lines)


def _indented(text: str) -> str:
    """`text` with its own line breaks, none of which begins a line that could be taken for another of the report."""
    first, *rest = visible(text, keep="\n").split("\n")
    return "\n".join([first, *(line if line.startswith("    ") else f"    {line}" for line in rest)])


def _rebuild(kind: type[CapillaryError], args: tuple[object, ...], state: dict[str, object]) -> CapillaryError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class _OfOneKind(CapillaryError):
    """A failure whose class says the exit code."""

    kind: ClassVar[ExitCode]

    def __init__(self, what: str, *, remedy: str, file: object | None = None, value: object | None = None) -> None:
        super().__init__(what, remedy=remedy, code=self.kind, file=file, value=value)


class UsageError(_OfOneKind):
    """A command, an option or a setting of this machine is wrong."""

    kind = ExitCode.USAGE


class ParamsError(_OfOneKind):
    """A key or value in params.yaml or an experiment file is wrong."""

    kind = ExitCode.PARAMS


class DataError(_OfOneKind):
    """The user's data is missing, unreadable or inconsistent."""

    kind = ExitCode.DATA


class DamagedError(DataError):
    """A file that a run relies on is there, but not whole. Nobody deletes or replaces it but the user."""


class UndeclaredError(_OfOneKind):
    """A stage reads, writes or leaves what dvc.yaml does not give it."""

    kind = ExitCode.UNDECLARED


class MachineError(_OfOneKind):
    """The machine lacks what is needed: space, memory, a permission, a GPU, a program."""

    kind = ExitCode.MACHINE


class ServiceError(_OfOneKind):
    """A server (MLflow, an object store, the container engine) does not answer or refuses."""

    kind = ExitCode.SERVICE


_MACHINE_REMEDIES = {
    errno.ENOSPC: (
        "the disk is full",
        "free space on this disk (du -sh .dvc/cache; dvc gc -w --all-commits --all-experiments), then repeat",
    ),
    errno.EDQUOT: ("the disk quota is used up", "free space under this quota, then repeat"),
    errno.EROFS: ("the file system is read-only", "mount it writable or move the project, then repeat"),
    errno.EACCES: ("permission is denied", "give your user write access (see ls -ld), then repeat"),
    errno.EPERM: (
        "the operation is not permitted",
        "give your user write access (see ls -ld), then repeat",
    ),
    errno.ENOLCK: (
        "the file system knows no locks, without which two programs could work on the same files",
        "mount it with them (Lustre: the option flock; NFS: version 4), or move the project to another disk; "
        "checkpoints alone: CAPILLARY_CHECKPOINT_DIR",
    ),
    errno.EFBIG: ("the file grows over the file size limit", "raise the limit (ulimit -f) or free space, then repeat"),
}


def machine_error(error: OSError) -> CapillaryError | None:
    """`error` in plain words when it is the disk's or the permissions' fault, else None."""
    known = _MACHINE_REMEDIES.get(error.errno or 0)
    if known is None:
        return None
    what, remedy = known
    return MachineError(f"cannot write or read: {what}", remedy=remedy, file=error.filename, value=error.strerror)


_PATH_FAULTS = {
    errno.ENAMETOOLONG: ("is too long: a name has at most 255 bytes", "choose a shorter name"),
    errno.ENOTDIR: ("leads through a file, not a folder", "correct it, or name another folder"),
    errno.ELOOP: ("leads through a link that leads back to itself", "remove the link, or name what it was made for"),
}


def path_error(error: BaseException) -> CapillaryError | None:
    """`error` in plain words when it is the fault of a path that somebody typed, else None."""
    known = _PATH_FAULTS.get(error.errno or 0) if isinstance(error, OSError) and error.filename is not None else None
    if known is None:
        return None
    what, remedy = known
    return UsageError(f"a path cannot be used: it {what}", file=error.filename, remedy=remedy)  # type: ignore[attr-defined]


def find_foreseen(error: BaseException | None) -> CapillaryError | None:
    """The first foreseen failure in the chain of causes of `error`."""
    while error is not None:
        if isinstance(error, CapillaryError):
            return error
        if isinstance(error, OSError) and (known := machine_error(error)):
            return known
        if isinstance(error, MemoryError):
            return MachineError(
                "there is not enough memory",
                remedy="free memory, set CAPILLARY_WORKERS=1 to work on one volume at a time, or use a larger machine",
                value=str(error) or None,
            )
        error = error.__cause__ or error.__context__
    return None
