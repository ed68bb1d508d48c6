"""What an archive lists: members under safe names, found by the paths that a table gives."""

import bisect
import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from stages.common.errors import DataError
from stages.ingest.sources.archives.limits import MAX_NAME_BYTES, refused
from stages.ingest.sources.links import LinkError, follow, printable
from stages.ingest.sources.local import TABLE

Kind = Literal["file", "folder", "link", "hard link", "encrypted", "sparse", "device", "pipe", "unknown"]
_KINDS: dict[Kind, str] = {
    "encrypted": "encrypted",
    "sparse": "a sparse file",
    "device": "a device",
    "pipe": "a pipe",
    "unknown": "of an unknown kind",
}
_DRIVE = re.compile(r"[A-Za-z]:")
_MAC = re.compile(r"(^|/)(__MACOSX(/|$)|\.DS_Store$|Icon\r$|\._[^/]*$)")
_REMEDY = "remove or rename it, and pack the archive again"
_REMEDIES: dict[Kind, str] = {
    "encrypted": "pack it without a password",
    "sparse": "pack it whole (tar without --sparse)",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One entry. `name` is as the archive has it, `place` and `size` (bytes) say where its content is.

    `target` is where a link leads: from its own folder, a hard link from the top.
    """

    name: str
    kind: Kind
    size: int
    place: int
    target: str = ""


class BadMemberError(ValueError):
    """A member that makes the whole archive suspect; its text says why."""


def safe_name(name: str) -> str:
    """`name` without `.` and doubled slashes, in one form of Unicode; "" for the top itself.

    Raises BadMemberError for a name that means a place outside, or that cannot be told on every system.
    """
    if len(name) > MAX_NAME_BYTES:
        raise BadMemberError(
            f"a name has {len(name):,} characters ({printable(name, 40)}), the limit is {MAX_NAME_BYTES:,}"
        )
    if fault := _fault_of(name):
        raise BadMemberError(f"the name {printable(name)} {fault}")
    return unicodedata.normalize("NFC", "/".join(part for part in name.split("/") if part not in ("", ".")))


def _fault_of(name: str) -> str:
    if name.startswith("/") or _DRIVE.match(name):
        return "is absolute"
    if ".." in name.split("/"):
        return "leads outside the archive"
    if "\\" in name:
        return "holds a backslash; folders are parted by /"
    if any(unicodedata.category(sign) == "Cc" for sign in name):
        return "holds a control character"
    return ""


class Listing:
    """The members of an archive, as a tree. `shown` is the archive's name for messages."""

    def __init__(self, members: Iterable[Member], shown: str) -> None:
        """Raises DataError for a member whose name makes the archive suspect."""
        self._shown = shown
        self._members: dict[str, list[Member]] = defaultdict(list)
        self._alike: dict[str, set[str]] = defaultdict(set)
        for member in members:
            if not _MAC.search(member.name):  # what macOS packs besides
                self._add(member)
        self._sorted = sorted(self._members)
        self._top = self._lone_folder()

    def _add(self, member: Member) -> None:
        try:
            name = safe_name(member.name)
            if not name and member.kind != "folder":
                raise BadMemberError(f"a member ({member.kind}) has no name")
        except BadMemberError as error:
            raise refused(self._shown, str(error), _REMEDY) from error
        if name:
            self._members[name].append(member)
            self._alike[name.casefold()].add(name)

    def _lone_folder(self) -> str:
        """The only entry at the top where that is a folder, as if it had been packed without it; else ""."""
        entries = self._entries("")
        (name,) = entries if len(entries) == 1 else ("",)
        return name if name not in ("", TABLE, "raw") and self._is_folder(name) else ""

    def _entries(self, folder: str) -> set[str]:
        above = f"{folder}/" if folder else ""
        below = itertools.islice(self._sorted, bisect.bisect_left(self._sorted, above), None)
        names = itertools.takewhile(lambda name: name.startswith(above), below)
        return {name[len(above) :].partition("/")[0] for name in names}

    def _is_folder(self, name: str) -> bool:
        if any(member.kind == "folder" for member in self._members.get(name, ())):
            return True
        at = bisect.bisect_left(self._sorted, f"{name}/")
        return at < len(self._sorted) and self._sorted[at].startswith(f"{name}/")

    def has(self, path: str) -> bool:
        """Whether there is a file or a link at `path`."""
        name = self._below_top(path)
        return name in self._members and not self._is_folder(name)

    def names(self, folder: str) -> list[str]:
        """Entries of a folder, sorted; none of one that is not there."""
        return sorted(self._entries(self._followed(folder)))

    def below(self, folder: str) -> list[str]:
        """Files and links anywhere below a folder, by their paths in it, sorted; none of one that is not there."""
        above = f"{self._followed(folder)}/".lstrip("/")
        at = itertools.islice(self._sorted, bisect.bisect_left(self._sorted, above), None)
        names = itertools.takewhile(lambda name: name.startswith(above), at)
        return [name[len(above) :] for name in names if not self._is_folder(name)]

    def find(self, path: str) -> Member:
        """The regular file at `path`, over links. Raises DataError for anything else, and where two could be it."""
        name = self._followed(path)
        self._refuse_doubt(name, path)
        if self._is_folder(name):
            raise self._unfit("this is a folder, not a file", "name the file itself", path)
        if name not in self._members:
            leads = "" if name == self._below_top(path) else f" (it is a link to {printable(name)})"
            raise self._unfit(f"it does not exist in the archive{leads}", "correct its name or add it", path)
        (member,) = self._members[name]
        if member.kind == "hard link":
            return self._linked(member, path)
        if member.kind != "file":
            remedy = _REMEDIES.get(member.kind, "pack a plain file in its place")
            raise self._unfit(f"it is {_KINDS[member.kind]}, which is not unpacked; {remedy}", remedy, path)
        return member

    def _linked(self, link: Member, path: str) -> Member:
        """What a hard link means: tar writes the content of a file once, under the name that comes first."""
        target = self._members.get(_plain(link.target), [])
        if len(target) != 1 or target[0].kind != "file":
            what = f"it is a hard link to {printable(link.target)}, which is not one file of the archive"
            raise self._unfit(what, "pack the file itself (tar --hard-dereference)", path)
        return target[0]

    def _below_top(self, path: str) -> str:
        return unicodedata.normalize("NFC", f"{self._top}/{path}".strip("/"))

    def _followed(self, path: str) -> str:
        try:
            return follow(self._below_top(path), self._target_of)
        except LinkError as error:
            raise self._unfit(str(error), "pack the files themselves (tar --dereference)", path) from error

    def _target_of(self, name: str) -> str | None:
        found = self._members.get(name, ())
        link = next((member for member in found if member.kind == "link"), None)
        if link is None:
            return None
        self._refuse_doubt(name, name)
        return unicodedata.normalize("NFC", link.target) or "."

    def _refuse_doubt(self, name: str, path: str) -> None:
        """Raise DataError if the archive holds `name` twice, or another name that some systems take for it."""
        names = sorted(member.name for member in self._members.get(name, ()) if member.kind != "folder")
        others = sorted(self._alike.get(name.casefold(), set()) - {name})
        if len(names) > 1:
            what = "it twice" if names[0] == names[-1] else f"it under two spellings of one name ({names!a})"
        elif names and others:
            what = f"{printable(others[0])}, too, which differs only in case"
        else:
            return
        raise self._unfit(f"the archive holds {what}; remove or rename one", _REMEDY, path)

    def _unfit(self, what: str, remedy: str, path: str) -> DataError:
        return DataError(what, remedy=remedy, file=f"{self._shown}/{path}")


def _plain(name: str) -> str:
    """A hard link's target, which tar gives from the top; a name that is not safe is nobody's."""
    try:
        return safe_name(name)
    except BadMemberError:
        return ""
