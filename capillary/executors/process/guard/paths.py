"""Where a path leads: links, `..` and /proc followed as the kernel follows them."""

import os
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .policy import below
from .system import foreign_link, open_number, place_of

MOST_LINKS = 40  # the kernel gives up there, too


@dataclass(frozen=True)
class Grant:
    """A link that is declared, or part of the system, gives what it leads to. `declared`: also in the project."""

    target: str
    declared: bool


@dataclass(frozen=True)
class ResolvedPath:
    """What a path means. `place` is how it was asked for, without `..`; `real` is where it ends, without links.

    `opened` is the number of this process's own open file, where the path is a name of that. `foreign` tells that the
    way goes through a link of another process.
    """

    place: str
    real: str
    grants: tuple[Grant, ...] = ()
    opened: int | None = None
    foreign: bool = False

    def is_granted(self, is_of_project: Callable[[str], bool]) -> bool:
        """Whether a link on the way gives the stage what is at its end."""
        reached = [grant for grant in self.grants if below(self.real, (grant.target,))]
        return any(grant.declared for grant in reached) or (bool(reached) and not is_of_project(self.real))


def follow(name: str, grant_of: Callable[[str, str], Grant | None]) -> ResolvedPath:
    """The way of the absolute path `name`; `grant_of(link, target)` says what a link gives."""
    place, at, rest = os.path.abspath(name), "/", _parts(name)
    grants: list[Grant] = []
    opened = None
    for _ in range(MOST_LINKS):
        at, rest, target = _to_next_link(at, rest)
        if target is None:
            break
        if foreign_link(at):
            return ResolvedPath(place=place, real="/".join([at, *reversed(rest)]), foreign=True)
        number = open_number(at)
        opened = number if number is not None and not rest else opened
        if number is not None and not target.startswith("/"):
            break  # a pipe or socket has no place
        folder = "/" if target.startswith("/") else os.path.dirname(at)
        if grant := grant_of(at, os.path.join(folder, target)):
            grants.append(grant)
        at, rest = folder, [*rest, *_parts(target)]
    return ResolvedPath(place=place, real=at, grants=tuple(grants), opened=opened)


def follow_to(name: str, grant_of: Callable[[str, str], Grant | None]) -> ResolvedPath:
    """As `follow`, but a link at the end of the path is not followed: it is what is meant."""
    head, tail = os.path.split(name.rstrip("/"))
    if tail in ("", ".", ".."):
        return follow(name, grant_of)
    way = follow(head or "/", grant_of)
    real = os.path.join(way.real, tail)
    return ResolvedPath(
        place=os.path.abspath(name), real=real, grants=way.grants, foreign=way.foreign or foreign_link(real)
    )


def absolute(path: Any, folder: int = -1) -> str | None:
    """`path`, relative to the open folder number `folder` if there is one, as an absolute path with its `..`.

    None for an open file's number, which was judged when it was opened, and for a folder that has no name.
    """
    if isinstance(path, int):
        return None
    name = os.fsdecode(path)
    if name.startswith("/"):
        return name
    if folder < 0:
        return os.path.join(os.getcwd(), name)
    start = place_of(folder)  # without /proc an open folder has no name; it was judged when it was opened
    return os.path.join(start, name) if start is not None else None


def database_file(name: Any) -> str | None:
    """The file of an SQLite database, which may be named by a URI; None when it is in memory."""
    text = os.fsdecode(name)
    if text in ("", ":memory:"):
        return None
    if not text.startswith("file:"):
        return text
    uri = urllib.parse.urlsplit(text)
    options = urllib.parse.parse_qs(uri.query)
    in_memory = "memory" in options.get("mode", ()) or "memdb" in options.get("vfs", ())
    path = urllib.parse.unquote(uri.path)
    return None if in_memory or path in ("", ":memory:") else path


def _parts(path: str) -> list[str]:
    """The parts of `path`, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _to_next_link(at: str, rest: list[str]) -> tuple[str, list[str], str | None]:
    """(the next link on the way, what follows it, its target); the end of the way and None when no link is left."""
    rest = list(rest)
    while rest:
        part = rest.pop()
        if part == "..":
            at = os.path.dirname(at)
            continue
        at = os.path.join(at, part)
        try:
            return at, rest, os.readlink(at)
        except OSError:
            continue  # no link, or not there
    return at, [], None
