"""A message that a page of the docs explains is one that the code says: people search the page for its words."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.parts import REPOSITORY

# the first heading of a table that explains messages
HEADINGS = ("message", "you see", "what you see", "what you read or see", "what is said")
# words of other programs
FOREIGN = {
    *("No space left on device", "Read-only file system", "Network is unreachable", "bind source path does not exist"),
    *("Temporary failure in name resolution", "could not select device driver", "self-signed certificate"),
    *("Connection refused", "Name or service not known", "permission denied", "Unable to read RWLock-file"),
    *("JSON structure is corrupted", "is busy", "it is being blocked by"),
}


@functools.cache
def texts() -> str:
    """The texts of all programs. Read when a test asks: whoever only collects the tests does not wait for it."""
    return "\n".join(_texts())


def _texts() -> Iterator[str]:
    """Each text; a value within one is a line break."""
    for folder in ("capillary", "stages", "services", "serving"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\n" for part in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def _quoted(page: Path) -> Iterator[str]:
    """Messages in the first column of the page's tables of messages."""
    heading = ""
    for line in page.read_text().splitlines():
        first = line.split(" | ")[0].removeprefix("| ") if line.startswith("|") else ""
        heading = heading if line.startswith("|") and heading else first
        if heading in HEADINGS:
            yield from (text for text in re.findall(r"`([^`]+)`", first) if not text.startswith("./"))


def _parts(message: str) -> Iterator[str]:
    """Its phrases of two words or more, between sample values and signs."""
    for part in re.split(r"[…(),:;]|\d+|\b[A-Z_]{4,}\b|[^ ]*/[^ ]*", message):
        if " " in part.strip():
            yield part.strip()


PAGES = [page for page in sorted((REPOSITORY / "docs").rglob("*.md")) if any(_quoted(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_quoted_messages_exist(page: Path) -> None:
    missing = [part for message in _quoted(page) for part in _parts(message) if part not in texts()]
    assert [part for part in missing if part not in FOREIGN] == []


def test_a_full_disk_costs_no_earlier_result() -> None:
    """`dvc gc -w` alone removes from the cache what other commits and experiments made."""
    pages = "\n".join(page.read_text() for page in (REPOSITORY / "docs").rglob("*.md"))
    assert re.findall(r"dvc gc -w(?! --all-commits --all-experiments).*", f"{texts()}\n{pages}") == []


def test_no_text_forces_the_stages_before_the_one_it_names() -> None:
    """`dvc repro -f STAGE` runs every stage before it too: with evaluate, all trainings."""
    pages = "\n".join(page.read_text() for page in (REPOSITORY / "docs").rglob("*.md"))
    assert re.findall(r"dvc repro -f (?!-s)[a-z\n{].*", f"{texts()}\n{pages}") == []
