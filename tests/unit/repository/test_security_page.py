"""docs/security.md tells the truth: its tables are those that configs/stages.yaml and dvc.yaml give."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.planning.access import ACCESS_FILE, StageAccess
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


def test_every_stage_has_a_row_in_both_tables() -> None:
    """A stage that no entry of dvc.yaml declares reads and writes something, too."""
    page = (REPOSITORY / "docs" / "security.md").read_text()
    for head in ("| stage | `network`", "| stage | reads"):
        table = page[page.index(head) :].partition("\n\n")[0]
        rows = {line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]}
        assert set(yaml.safe_load((REPOSITORY / ACCESS_FILE).read_text())) <= rows


def test_the_stages_with_keys_of_the_artifact_store_are_named() -> None:
    """Those that get ARTIFACTS_AWS_*, and the gate that runs with what train gets."""
    page = (REPOSITORY / "docs" / "security.md").read_text()
    row = next(line for line in page.splitlines() if "`ARTIFACTS_AWS_*`, `MLFLOW_S3_ENDPOINT_URL`" in line)
    stages: dict[str, dict[str, Any]] = yaml.safe_load((REPOSITORY / ACCESS_FILE).read_text())
    given = {name for name, entry in stages.items() if "ARTIFACTS_AWS_*" in entry.get("env_from", {}).values()}
    assert set(re.findall(r"\*(\w+)\*[, ]", row.split(" | ")[2] + " ")) == given
