"""What has to be so before any code of a commit runs."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from capillary.lifetimes.stop import Stop
from capillary.reproduce import run
from capillary.reproduce.run import Reproduction, run_reproduction
from stages.common.errors import CapillaryError, ExitCode
from stages.common.provenance.record import DIFF
from stages.common.requests.reproduction import FETCHED
from tests.unit.capillary.reproduce.test_recipe import CHANGED, fetch

ASKED = Reproduction(reference="capillary-default/1")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone, and a registry that says where a training of two cells came from."""
    root = tmp_path / "clone"
    root.mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / "dvc.yaml").write_text("stages: {}\n")

    def fetched(_reference: str, _root: Path, folder: Path, *_rest: object) -> int:
        fetch(folder / FETCHED, {}, {})
        return 0

    monkeypatch.setattr(run, "_fetch", fetched)
    return root


def test_nothing_runs_without_consent(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who is asked sees the commit first; a no leaves nothing."""
    questions: list[str] = []
    with pytest.raises(CapillaryError, match="nothing was trained") as caught:
        run_reproduction(ASKED, project, Stop(), lambda text: bool(questions.append(text)))
    assert caught.value.code == ExitCode.USAGE
    assert len(questions) == 1
    assert "c" * 40 in capsys.readouterr().out
    assert list((project / ".capillary").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "is_said"), [(".dvc/config", True), (r'"b/.dvc/con\146ig"', True), ("train.py", False)]
)
def test_changes_of_dvc_s_remotes_are_said_before_logins_go_there(
    project: Path, file: str, is_said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the diff itself: the record does not list the file, and a name in a diff may be escaped."""
    name = file if file.startswith('"') else f"b/{file}"
    diff = f"--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+x\n".encode()
    host = {**CHANGED, "diff_sha256": hashlib.sha256(diff).hexdigest()}

    def fetched(_reference: str, _root: Path, folder: Path, *_rest: object) -> int:
        (fetch(folder / FETCHED, host) / "0" / DIFF).write_bytes(diff)
        return 0

    monkeypatch.setattr(run, "_fetch", fetched)
    with pytest.raises(CapillaryError, match="nothing was trained"):
        run_reproduction(ASKED, project, Stop(), lambda _: False)
    assert (".dvc/config.local" in capsys.readouterr().out.replace("\n", "")) is is_said


def test_a_commit_that_cannot_be_had_ends_it(project: Path) -> None:
    """Before anything is laid out."""
    agreed = Reproduction(reference="capillary-default/1", agreed=True)
    with pytest.raises(CapillaryError, match="nor its remotes have the commit"):
        run_reproduction(agreed, project, Stop(), lambda _: False)
    assert list((project / ".capillary").iterdir()) == []


@pytest.mark.parametrize("has_git", [True, False])
def test_only_a_clone_of_a_project_will_do(tmp_path: Path, has_git: bool) -> None:
    """A folder without dvc.yaml, or without Git."""
    if has_git:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    else:
        (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(CapillaryError, match="in a clone of its project"):
        run_reproduction(ASKED, tmp_path, Stop(), lambda _: True)
