"""What one stage may touch, as a value."""

import importlib.machinery
import json
import os
from dataclasses import dataclass
from typing import Any

POLICY_VARIABLE = "CAPILLARY_POLICY"  # tells the Python processes that a stage starts where its policy is
CODE_SUFFIXES = tuple(importlib.machinery.all_suffixes())


class UndeclaredAccess(PermissionError):
    """A stage tried to use something that its plan does not give it."""

    def __reduce__(self) -> tuple[type[PermissionError], tuple[Any, ...]]:
        """Cross from a worker process as a plain PermissionError: this module is not importable where it arrives."""
        return PermissionError, self.args


@dataclass(frozen=True)
class Policy:
    """What one stage may touch; absolute paths. Where two folders hold a path, the inner one decides."""

    address: str
    launcher_pid: int
    network: str
    base: str  # the sandbox
    work: str  # the stage's working folder in it
    home: str  # settings in it, ~/.*, are readable
    forbidden: tuple[str, ...]  # project folders: what is below and not declared is named as they name it
    readable: tuple[str, ...]  # declared deps, the interpreter's and the system's folders
    writable: tuple[str, ...]  # temporary, state and embedded tracking folders
    outs: tuple[str, ...]
    record: str  # the file that keeps what was refused

    @classmethod
    def load(cls, file: str) -> "Policy":
        """Read the policy that the launcher wrote."""
        with open(file) as stream:
            values: dict[str, Any] = json.load(stream)
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})

    def is_of_project(self, real: str) -> bool:
        """Whether `real` is in the project, where only what is declared may be read."""
        return below(real, self.forbidden)

    def is_readable(self, real: str) -> bool:
        """Whether the stage may read `real`, a path without links outside the sandbox."""
        forbidden = depth(real, self.forbidden)
        readable = max(depth(real, (*self.readable, *self.writable)), self._depth_of_settings(real))
        return readable > forbidden or (forbidden < 0 and _is_code(real))

    def is_writable(self, real: str) -> bool:
        """Whether the stage may change `real`: its outs, hidden temporary files next to them, its own folders."""
        return below(real, (*self.writable, *self.outs)) or self._is_temporary_of_out(real)

    def name_of(self, place: str) -> str:
        """`place` as the user knows it: relative to the workspace where it is in there or in the sandbox."""
        if below(place, (self.base,)):
            return os.path.relpath(place, self.work)
        for folder in self.forbidden:
            if below(place, (folder,)):
                name = os.path.relpath(place, folder)
                return ". (the whole project)" if name == "." else name
        return place

    def exists_outside_only(self, real: str) -> bool:
        """Whether a path of the sandbox is missing there but exists in the workspace: an undeclared input.

        A previous out is none: DVC removes it before most runs, so to the stage it never exists.
        """
        if os.path.lexists(real) or below(real, self.outs):
            return False
        name = os.path.relpath(real, self.work)
        return any(os.path.lexists(os.path.join(root, name)) for root in self.forbidden)

    def _depth_of_settings(self, real: str) -> int:
        homes = {self.home, os.path.realpath(self.home)}
        return max((len(home) + 1 for home in homes if real.startswith(home + "/.")), default=-1)

    def _is_temporary_of_out(self, real: str) -> bool:
        folder, name = os.path.split(real)
        return any(
            folder == os.path.dirname(out) and name.startswith(f".{os.path.basename(out)}.") for out in self.outs
        )


def below(place: str, folders: tuple[str, ...]) -> bool:
    """Whether `place` is one of `folders` or in one of them."""
    return depth(place, folders) >= 0


def depth(place: str, folders: tuple[str, ...]) -> int:
    """The length of the innermost of `folders` that holds `place`; -1 when none does."""
    return max(
        (len(folder) for folder in folders if place == folder or place.startswith(folder + os.sep)),
        default=-1,
    )


def _is_code(real: str) -> bool:
    """Whether `real` is a module or in a package, such as one that pip installed in place from elsewhere."""
    if real.endswith(CODE_SUFFIXES):
        return True
    while (folder := os.path.dirname(real)) != real:
        if os.path.exists(os.path.join(real, "__init__.py")):
            return True
        real = folder
    return False
