"""Links of a source, followed by name alone: what leads outside the source is refused, wherever it would lead."""

from collections.abc import Callable

MOST_HOPS = 40  # as many as the kernel follows
_MOST_PARTS = 1000  # of a path with all links in it spelled out
_REMEDY = "copy the file itself there"


class LinkError(ValueError):
    """A link that is not followed; its text says why, and what to do."""


def follow(path: str, target_of: Callable[[str], str | None]) -> str:
    """`path` as the name of a file or folder that is reached over no link.

    `target_of` says where the link of that name leads, None if there is none. Raises LinkError for a link that is
    absolute, leads outside the source or goes in circles.
    """
    waiting, done, hops, parts = path.split("/")[::-1], list[str](), 0, 0
    link, told = "", ""
    while waiting:
        part, parts = waiting.pop(), parts + 1
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                raise LinkError(f"{_name(path, link)} is a link to {told}, which leads outside the source; {_REMEDY}")
            done.pop()
            continue
        done.append(part)
        target = target_of("/".join(done))
        if target is None:
            continue
        link, told, hops = "/".join(done), printable(target), hops + 1
        if hops > MOST_HOPS or parts > _MOST_PARTS:
            raise LinkError(f"{_name(path, link)} is a link to {told}, which leads in circles; {_REMEDY}")
        if target.startswith("/"):
            what = f"{_name(path, link)} is a link to {told}, an absolute path"
            raise LinkError(f"{what}; {_REMEDY}, or make it relative (ln -sr)")
        done.pop()
        waiting += target.split("/")[::-1]
    return "/".join(done)


def _name(path: str, link: str) -> str:
    """How a message calls the link on the way to `path`, which stands before it."""
    return "it" if link in (path, "") else printable(link)


def printable(text: str, most: int = 120) -> str:
    """`text` from a stranger's file for a message: without signs that steer a terminal, and not too long."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    shown = safe if safe.isprintable() else ascii(safe)[1:-1]
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
