"""Which version an alias leads to, from the aliases of a server and the tags that stand in for them.

Whoever points an alias writes a tag, too: `capillary.alias.<alias>` on the version, with the time and whether the
server took the alias. So the newest of both counts. A tag says that the alias was refused, and is newer than whatever
alias the server still has; or that it was taken, and then the alias itself is the truth, also if a person moved it in
MLflow's page since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from stages.common.text import json_value

TAG = "capillary.alias."
FORMER_TAG = "capillary.alias"  # on versions of former programs, in place of an alias: the alias, without a time
TOO_LATE_NS = 2 * 10**19  # the year 2603: no key of the history and no pointer is later


class Tagged(Protocol):
    """A version of a registered model, as MLflow's client has it."""

    @property
    def name(self) -> Any:
        """The registered model."""

    @property
    def version(self) -> Any:
        """Its number, as a string or an int."""

    @property
    def tags(self) -> Any:
        """Name → text."""


Version = TypeVar("Version", bound=Tagged)


@dataclass(frozen=True, kw_only=True)
class Pointer(Generic[Version]):
    """A tag that says which version an alias was pointed at. `when` is in ns since 1970."""

    version: Version
    when: int
    taken: bool


def resolve(versions: Sequence[Version], aliases: Mapping[str, str]) -> dict[str, Version]:
    """Alias → version, from `aliases` (alias → number) and the tags of `versions`."""
    by_number = {str(one.version): one for one in versions}
    found = {alias: by_number[number] for alias, number in aliases.items() if number in by_number}
    for alias, version in _former(versions).items():
        if alias not in found or int(version.version) > int(found[alias].version):
            found[alias] = version  # both were set as versions were made: the later version's is newer
    for alias, pointers in pointers_of(versions).items():
        newest = max(pointers, key=lambda pointer: (pointer.when, int(pointer.version.version)))
        if alias not in aliases or not newest.taken:
            found[alias] = newest.version
        elif aliases[alias] in by_number:
            found[alias] = by_number[aliases[alias]]
    return found


def pointers_of(versions: Sequence[Version]) -> dict[str, list[Pointer[Version]]]:
    """Alias → the tags that point it."""
    found: dict[str, list[Pointer[Version]]] = {}
    for version in versions:
        for key, text in version.tags.items():
            if key.startswith(TAG) and (pointer := _pointer(version, text)) is not None:
                found.setdefault(key.removeprefix(TAG), []).append(pointer)
    return found


def _former(versions: Sequence[Version]) -> dict[str, Version]:
    ordered = sorted(versions, key=lambda one: int(one.version))
    return {one.tags[FORMER_TAG]: one for one in ordered if FORMER_TAG in one.tags}


def _pointer(version: Version, text: str) -> Pointer[Version] | None:
    """None for a tag that a person wrote in another form."""
    try:
        data = json_value(text)
    except ValueError:
        return None
    if not isinstance(data, dict) or type(data.get("when")) is not int or type(data.get("taken")) is not bool:
        return None
    if not 0 <= data["when"] < TOO_LATE_NS:
        return None  # no pointer could be newer
    return Pointer(version=version, when=data["when"], taken=data["taken"])
