"""Notebooks are committed as their authors wrote them: without outputs, which hold paths, names and keys."""

import json
from pathlib import Path

import pytest

from tests.support.parts import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_no_outputs(notebook: Path) -> None:
    """What a cell printed belongs to the machine on which it ran."""
    cells = json.loads(notebook.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []


def test_the_readme_lists_every_notebook() -> None:
    """A new notebook gets its line."""
    text = (REPOSITORY / "notebooks" / "README.md").read_text()
    assert NOTEBOOKS
    assert [notebook.name for notebook in NOTEBOOKS if f"`{notebook.name}`" not in text] == []
