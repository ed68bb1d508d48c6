"""No statement follows a return: half of a message on the next line, without brackets, is one that nobody reads."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

from tests.support.parts import REPOSITORY


def unreachable(tree: ast.AST) -> Iterator[int]:
    """The lines of `tree` that follow the end of their block."""
    for node in ast.walk(tree):
        for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            for one, following in itertools.pairwise(block) if isinstance(block, list) else ():
                if isinstance(one, ast.Return | ast.Raise | ast.Break | ast.Continue):
                    yield following.lineno


def _programs() -> Iterator[Path]:
    for folder in ("capillary", "stages", "services", "serving", "scripts"):
        yield from (REPOSITORY / folder).rglob("*.py")


def test_every_line_can_be_reached() -> None:
    assert list(unreachable(ast.parse('def f():\n    return "half "\n    "of it"'))) == [3]
    found = {f"{file}:{line}" for file in _programs() for line in unreachable(ast.parse(file.read_text()))}
    assert found == set()
