"""A diff from a registry, checked before Git applies it: it stays in the project and makes no links."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from stages.common.errors import DataError

# names under which a file system may know the folder .git
_GIT = re.compile(r"\.git|git~\d+|\.git[ .:].*", re.IGNORECASE)
# a link or a submodule: what comes after could lead elsewhere. A line of content begins with a sign
_SPECIAL = re.compile(rb"^(?:new|deleted) file mode 1[26]0000|^(?:new|old) mode 1[26]0000|^index .* 1[26]0000$", re.M)


def refuse_unsafe(diff: bytes, touched: Sequence[str]) -> None:
    """Raise DataError when `diff`, which changes the files `touched`, may not be applied."""
    outside = next((name for name in touched if not _is_inside(name)), None)
    if outside is not None:
        raise _refused("touch a file outside the project", outside)
    if found := _SPECIAL.search(diff):
        raise _refused("make or change a link or a submodule", found[0].decode("ascii", "replace"))


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
