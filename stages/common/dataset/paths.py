"""Paths in a table, as other systems write them, and the files of a source that they mean."""

import contextlib
import posixpath
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

from stages.common.errors import DataError

MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4096  # what file systems take
_DRIVE = re.compile(r"[A-Za-z]:")


def with_slashes(path: str) -> str:
    """`path` with / between folders, as Windows writes \\, and without doubled ones or `.`; "" stays."""
    return posixpath.normpath(path.replace("\\", "/")) if path else ""


def is_absolute(path: str) -> bool:
    """Whether `path` begins at the top of a disk, here or on Windows."""
    return posixpath.isabs(path) or _DRIVE.match(path) is not None


def stays_inside(path: str) -> bool:
    """Whether `path` names something below its root."""
    first = posixpath.normpath(path).split("/")[0]
    return "\\" not in path and not is_absolute(path) and first not in ("..", ".")


def is_plain(path: str) -> bool:
    """Whether `path` holds letters and signs that can be seen, none that steer a terminal or end a name."""
    return not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in path)


def is_short(path: str) -> bool:
    """Whether a file system takes `path` and each name in it."""
    whole = path.encode("utf-8", "replace")
    return max(map(len, whole.split(b"/"))) <= MAX_NAME_BYTES and len(whole) <= MAX_PATH_BYTES


@dataclass(frozen=True, kw_only=True)
class PathMatch:
    """A path as the source has it. `note` says how it differs from what was asked for; `fault` why none is taken."""

    path: str
    note: str = ""
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The names in a source, listed once per folder. `list_folder` gives those in a folder, none if it is missing."""

    list_folder: Callable[[str], list[str]]
    _folders: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def find(self, path: str) -> PathMatch:
        """The file that `path`, a relative one, means: by its very name, else by the only one that looks like it.

        Two names look alike in another form of Unicode (macOS decomposes ä), or in capitals. Where nothing looks like
        it, `path` comes back: who fetches it says so.
        """
        done: list[str] = []
        is_other_case = False
        parts = path.split("/")
        for number, part in enumerate(parts):
            alike = self._names("/".join(done)).get(_fold(part), [])
            if not alike:  # nothing is below a name that is not there
                done += parts[number:]
                break
            choice = _choose(part, alike)
            if len(choice) > 1:
                shown = ", ".join(alike)
                return PathMatch(
                    path=path, fault=f"matches several names in the source ({shown}); write one of them exactly"
                )
            done.append(choice[0])
            is_other_case |= _nfc(done[-1]) != _nfc(part)
        found = "/".join(done)
        how = "differs in upper and lower case" if is_other_case else "is in another form of Unicode"
        return PathMatch(path=found, note="" if found == path else f"{path!r} {how}; {found} is read")

    def names_in(self, folder: str) -> list[str]:
        """The names in `folder`, none if it is missing."""
        return [name for alike in self._names(folder).values() for name in alike]

    def has(self, path: str) -> bool:
        """Whether something is at `path`, by its name or by one that looks like it."""
        parts = self.find(path).path.split("/")
        return all(part in self._names("/".join(parts[:at])).get(_fold(part), []) for at, part in enumerate(parts))

    def inside(self, path: str) -> tuple[str, str] | None:
        """An absolute `path` as (the folder that would be this source, the rest), by the longest end that is here."""
        parts = path.split("/")
        for start in range(1, len(parts)):
            rest = "/".join(parts[start:])
            if stays_inside(rest) and self.has(rest):
                return "/".join(parts[:start]) or "/", rest
        return None

    def _names(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            with contextlib.suppress(DataError):  # a link that leads out: who fetches a file of it says so
                for name in self.list_folder(folder):
                    names.setdefault(_fold(name), []).append(name)
            self._folders[folder] = names
        return self._folders[folder]


def _choose(part: str, alike: list[str]) -> list[str]:
    """Which of `alike` is meant: the very name, else those that differ in Unicode's form alone, else all."""
    if part in alike:
        return [part]
    return [name for name in alike if _nfc(name) == _nfc(part)] or alike


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _fold(name: str) -> str:
    return _nfc(_nfc(name).casefold())
