"""The history of a registered model: one tag for each decision, on the version that it is about. None is ever changed.

The key is `capillary.promotion.<time>-<random>`, so no two people write the same one. The time orders the history. An
entry is later than every entry that its writer had read, whatever the clocks of their machines say.
"""

import datetime
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from stages.common.errors import DataError
from stages.common.params import Finite, Params
from stages.common.program.messages import get_logger
from stages.common.registered.pointers import TOO_LATE_NS, Tagged
from stages.common.text import json_value

log = get_logger(__name__)

PREFIX = "capillary.promotion."
MOST_REASON = 1000  # characters: a tag of MLflow 2.7 takes 5000 in all
# ns since 1970, before TOO_LATE_NS: behind a larger one no later key would fit
_KEY = Field(pattern=r"^[01][0-9]{19}-[0-9a-z]{1,32}$")
Kind = Literal["evaluated", "promoted", "rolled back"]
EVALUATED: Final = "evaluated"
PROMOTED: Final = "promoted"
ROLLED_BACK: Final = "rolled back"


class Entry(Params):
    """One decision about the version `to`.

    `evaluated`: a training stood for champion; `former` is the champion that it was compared with, `better` whether it
    won, None if there was none or both could not be compared. Otherwise a person decided, and `former` is the
    champion of that moment. `key` orders the history.
    """

    key: Annotated[str, _KEY]
    kind: Kind
    who: str
    when: str
    former: str | None
    to: str
    why: Annotated[str, Field(max_length=4000)]
    better: bool | None = None
    metric: str | None = None
    values: Mapping[str, Finite | None] = Field(default_factory=dict)

    @property
    def by_person(self) -> bool:
        """Whether a person decided."""
        return self.kind != EVALUATED

    @property
    def moment(self) -> int:
        """ns since 1970, as the key has it."""
        return int(self.key.partition("-")[0])


def new_key(now_ns: int, entries: Iterable[Entry]) -> str:
    """A key with the present time, or later where an entry is. Raises DataError if no later key is possible."""
    known = tuple(entries)
    moment = max(now_ns, *(entry.moment + 1 for entry in known), 0)
    if moment >= TOO_LATE_NS:
        raise _no_later(now_ns, known)
    return f"{moment:020d}-{secrets.token_hex(4)}"


def _no_later(now_ns: int, entries: Iterable[Entry]) -> DataError:
    wrong = [f"{PREFIX}{entry.key} of version {entry.to}" for entry in entries if entry.moment > now_ns]
    return DataError(
        "the history has entries from the future, and no later one fits behind the last of them",
        value=", ".join(wrong[:5]),
        remedy="find out who wrote these tags, delete them on the versions' pages in MLflow, then repeat",
    )


def iso_time(key: str) -> str:
    """The time of `key` for people, UTC."""
    seconds = int(key.partition("-")[0]) // 1_000_000_000
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def entry_json(entry: Entry) -> str:
    """The value of the tag."""
    fields = entry.model_dump(mode="json", exclude={"key", "former"})
    return json.dumps({"from": entry.former, **fields}, ensure_ascii=False)


def read_entries(versions: Iterable[Tagged]) -> tuple[Entry, ...]:
    """The history, oldest first. A tag that is not an entry is named and passed over."""
    found = (entry for version in versions for entry in entries_of(version))
    return tuple(sorted(found, key=lambda entry: entry.key))


def entries_of(version: Tagged) -> Iterator[Entry]:
    """The entries about `version`, in the order of its tags."""
    for name, text in version.tags.items():
        key = name.removeprefix(PREFIX)
        if key == name:
            continue
        try:
            data = json_value(text)
            if not isinstance(data, dict):
                raise TypeError("it is not an object")
            entry = Entry.model_validate({"former": data.pop("from"), **data, "key": key})
        except (ValueError, KeyError, TypeError):
            log.warning(
                f"the tag {name} of {version.name}/{version.version} is not an entry of its history and is ignored"
            )
            continue
        if entry.to == str(version.version):
            yield entry
