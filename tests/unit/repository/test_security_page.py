"""docs/security.md tells the truth: its tables are those that configs/stages.yaml and dvc.yaml give."""

import shutil
from pathlib import Path

import pytest

from capillary.planning.access import StageAccess
from scripts.security_page import main
from tests.support.parts import REPOSITORY

FILES = ("docs/security.md", "configs/stages.yaml", "dvc.yaml")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The page and what it is made from, to be edited."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def test_the_page_agrees_with_the_files() -> None:
    """Whoever changes what a stage may touch changes the page with it."""
    assert main(["--check"]) == 0


@pytest.mark.parametrize(
    ("file", "former", "new"),
    [
        ("configs/stages.yaml", "  network: none", "  network: tracking"),
        ("configs/stages.yaml", "HF_TOKEN: SOURCE_HF_TOKEN", "HF_TOKEN: GITHUB_TOKEN"),
        ("dvc.yaml", "      - data/processed\n", "      - data/processed\n      - samples\n"),
        ("docs/security.md", "| preprocess | none |", "| preprocess | tracking |"),
    ],
)
def test_a_page_that_says_something_else_is_found_and_written_anew(
    copy: Path, file: str, former: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check names the remedy, and the remedy works."""
    text = (copy / file).read_text()
    assert former in text
    (copy / file).write_text(text.replace(former, new, 1))
    assert main(["--check"], copy) == 1
    assert "python scripts/security_page.py" in capsys.readouterr().err
    assert main([], copy) == 0
    assert main(["--check"], copy) == 0


def test_every_key_of_a_stage_s_access_has_a_column() -> None:
    """A new kind of access cannot stay untold."""
    page = (REPOSITORY / "docs" / "security.md").read_text()
    head = next(line for line in page.splitlines() if line.startswith("| stage | `network`"))
    assert [f"`{key}`" for key in StageAccess.model_fields] == head.strip("| ").split(" | ")[1:]
