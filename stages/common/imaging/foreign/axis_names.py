"""Which axis a name means: programs call z, y and x by other words, too."""

import re
from collections.abc import Sequence

_WORDS = {
    **dict.fromkeys(("depth", "plane", "planes", "slice", "slices", "section", "sections"), "z"),
    **dict.fromkeys(("height", "row", "rows"), "y"),
    **dict.fromkeys(("width", "column", "columns", "col", "cols"), "x"),
    **dict.fromkeys(("frame", "frames"), "t"),
}
_KNOWN = set("tczyx")
_WORD = re.compile(r"[a-z]*")
_MADE_UP = re.compile(r"(phony_)?(dim|axis|d)?_?\d*", re.IGNORECASE)


def axis_letter(name: str) -> str:
    """z, y, x, c or t for an axis called `name`, by its first word or else its first letter; that letter if it is none
    of them.
    """
    small = name.strip().lower()
    word = _WORD.match(small)
    return _WORDS.get(word[0] if word else "", small[:1])


def letters_of(names: Sequence[str]) -> str:
    """A letter for each of `names`; "" where one of them means no axis of a stack."""
    letters = "".join(map(axis_letter, names))
    return letters if len(letters) == len(names) and set(letters) <= _KNOWN else ""


def unknown_names(names: Sequence[str]) -> str:
    """A remark on `names` that are not understood, "" for those that are, or that a program made up (dim_0)."""
    if letters_of(names) or all(_MADE_UP.fullmatch(name.strip()) for name in names):
        return ""
    return (
        f"its axes are called {', '.join(names)[:80]}, of which not all are known; the last three are taken as z, y, x"
    )
