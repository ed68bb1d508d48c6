"""A diff from a registry, checked before Git applies it: it stays in the project and makes no links."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from stages.common.errors import DataError

# names under which a file system may know the folder .git
_GIT = re.compile(r"\.git|git~\d+|\.git[ .:].*", re.IGNORECASE)
# of what is not there, a file, a program; the rest are links and submodules
_PLAIN_MODES = {"000000", "100644", "100755"}


def refuse_unsafe(touched: Sequence[str]) -> None:
    """Raise DataError when a diff that changes the files `touched` may not be applied."""
    outside = next((name for name in touched if not _is_inside(name)), None)
    if outside is not None:
        raise _refused("touch a file outside the project", outside)


def refuse_links(modes: Mapping[str, tuple[str, str]]) -> None:
    """Raise DataError when a link or a submodule is among `modes`: name → its mode before and after a diff.

    What comes after could lead elsewhere. Git reads a mode in more forms than one can list, so these are what it made
    of them.
    """
    found = next((name for name, pair in modes.items() if not _PLAIN_MODES.issuperset(pair)), None)
    if found is not None:
        raise _refused("make or change a link or a submodule", found)


def sets_remotes(touched: Sequence[str]) -> bool:
    """Whether DVC's config is among the files `touched`, on any file system."""
    return any(PurePosixPath(name.lower()).parts == (".dvc", "config") for name in touched)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    is_plain = bool(name) and not path.is_absolute() and "\\" not in name and ":" not in path.parts[0]
    return is_plain and not any(part == ".." or _GIT.fullmatch(part) for part in path.parts)


def _refused(what: str, value: str) -> DataError:
    return DataError(
        f"the recorded changes {what}",
        remedy="do not trust this version: find out who registered it",
        value=value,
    )
