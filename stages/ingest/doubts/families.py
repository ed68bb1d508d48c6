"""Volumes without a group whose ids look like those of one animal: m1_left and m1_right."""

import re
from collections import defaultdict
from collections.abc import Sequence

from stages.ingest.candidates import Candidate

_LEAST = 2  # animals with several stacks: of one, all stacks may have the name of the project
_LISTED = 3
# an animal's name has letters and ends in a number that is not a year; then come the field, the side or the day
_ID = re.compile(r"(.*?[0-9]+)[_\-. ]+([^_\-. ].*)")
_YEAR = re.compile(r"(?:^|[^0-9])(?:19|20)[0-9]{2}$")


def doubt_of_groups(candidates: Sequence[Candidate]) -> str:
    """A remark where no volume has a group, and the ids of several begin like an animal's; "" without such ids."""
    if any(candidate.group != candidate.id for candidate in candidates):
        return ""
    families: dict[str, list[str]] = defaultdict(list)
    for candidate in candidates:
        found = _ID.fullmatch(candidate.id)
        if found and any(map(str.isalpha, found[1])) and not _YEAR.search(found[1]):
            families[found[1].casefold()].append(candidate.id)
    several = [ids for ids in families.values() if len(ids) > 1]
    if len(several) < _LEAST:
        return ""
    shown = ", ".join(several[0][:_LISTED]) + (", …" if len(several[0]) > _LISTED else "")
    return f"no volume has a group; if {shown} are of one animal, name it in the column group of dataset.csv"
