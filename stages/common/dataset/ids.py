"""Ids as people give them, and as they can name a folder everywhere."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from stages.common.text import find_hidden

MAX_CHARACTERS, MAX_BYTES = 100, 240  # file systems take names of 255 bytes
_SAFE = re.compile(r"\w[\w.\-]*")
_UNSAFE = re.compile(r"[^\w.\-]+")
_TAKEN = {"volumes.csv", "validation.json", "labels.json"}  # ingest's own files are next to the volumes


def is_safe_id(text: str) -> bool:
    """Whether `text` can name a folder anywhere, cannot lead out of one and hides nothing."""
    is_short = len(text) <= MAX_CHARACTERS and len(text.encode("utf-8", "replace")) <= MAX_BYTES
    return is_short and _SAFE.fullmatch(text) is not None and text.lower() not in _TAKEN and find_hidden(text) is None


def safe_id(name: str) -> str:
    """`name` with `_` for what cannot be in a folder's name; the same for a name that is safe."""
    text = _UNSAFE.sub("_", unicodedata.normalize("NFC", name))
    text = text if text[:1] not in (".", "-") else f"_{text}"
    return f"{text}_" if text.lower() in _TAKEN else text


def fault_of(name: str) -> str:
    """Why `name` cannot be an id, in words; empty for one that can be, as it is or mapped."""
    if not name:
        return "is empty"
    if find_hidden(name) is not None:
        return "has an invisible character: type the name again"
    if name.startswith("/") or ".." in re.split(r"[/\\]", name):
        return "is a path and cannot name a folder (use letters, digits, . _ -)"
    if not any(sign.isalnum() for sign in name):
        return "has neither letters nor digits"
    return "" if is_safe_id(safe_id(name)) else f"is too long; the limit is {MAX_CHARACTERS} characters"


def group_of(cell: str) -> str:
    """The name of a group in its composed form, with single blanks: two spellings that look the same are one group."""
    return " ".join(unicodedata.normalize("NFC", cell).split())


def mapping_note(name: str) -> str:
    """How the id is shown where it was changed; empty if it was not."""
    mapped = safe_id(name)
    return "" if mapped == unicodedata.normalize("NFC", name) else f'id "{name}" → {mapped}'


def clashes(names: Sequence[str]) -> dict[int, list[int]]:
    """The place of each of `names` that others share a folder with → the places of all of them, its own among them.

    Two that differ in case alone are one folder on some file systems.
    """
    alike = defaultdict(list)
    for place, name in enumerate(names):
        alike[safe_id(name).casefold()].append(place)
    return {place: places for places in alike.values() if len(places) > 1 for place in places}


def others_of(place: int, places: Sequence[int], most: int = 3) -> list[int]:
    """The first `most` of `places`, without `place` itself."""
    return [other for other in places[: most + 1] if other != place][:most]
