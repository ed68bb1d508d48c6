"""What is read from files, Git and DVC: real repositories in their own folder."""

import contextlib
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from capillary.lifetimes.stop import Stop
from capillary.report.repository import (
    changed_stages,
    current_experiment,
    read_params,
    read_repository,
    repeat_lines,
)
from capillary.report.write import write_report
from stages.common.errors import CapillaryError, ExitCode
from stages.common.requests.report import RunFacts
from tests.unit.capillary.report.in_process import run_here

PARAMS = {"training": {"losses": ["dice_ce"], "folds": [0], "seed": 1}, "evaluation": {"confidence": 0.9}}


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed repository with params.yaml and dvc.lock."""
    root = tmp_path / "my project"
    root.mkdir()
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (root / ".gitignore").write_text("/reports\n/metrics\n/models\n/.dvc/tmp\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "start")
    return root


def test_a_clean_tree(project: Path) -> None:
    """Commit and branch, and nothing changed."""
    found = read_repository(project)
    assert found.commit == git(project, "rev-parse", "HEAD").strip()
    assert (found.branch, found.changed, found.params_changed) == ("main", (), False)


def test_a_dirty_tree_names_its_files(project: Path) -> None:
    """Changed, untracked and renamed files; params.yaml apart, because the command repeats it; dvc.lock not at all."""
    (project / "params.yaml").write_text(yaml.safe_dump({**PARAMS, "more": 1}))
    (project / "dvc.lock").write_text("changed\n")
    (project / "new file.txt").write_text("x")
    git(project, "mv", ".gitignore", "ignored")
    found = read_repository(project)
    assert set(found.changed) >= {"new file.txt", "ignored"}
    assert found.params_changed
    assert "dvc.lock" not in found.changed


def test_without_git_there_is_no_repository(tmp_path: Path) -> None:
    """An error that the report turns into a sentence."""
    with pytest.raises(CapillaryError, match="Git does not answer"):
        read_repository(tmp_path)


def test_params_are_marked_where_they_differ_from_the_commit(project: Path) -> None:
    """Changed and new keys; the others not."""
    changed = {"training": {**PARAMS["training"], "seed": 2, "added": None}, "evaluation": PARAMS["evaluation"]}
    (project / "params.yaml").write_text(yaml.safe_dump(changed))
    found = {param.key: (param.value, param.changed) for param in read_params(project)}
    assert found["training.seed"] == ("2", True)
    assert found["training.added"] == ("null", True)
    assert found["training.losses"] == ('["dice_ce"]', False)
    assert found["evaluation.confidence"] == ("0.9", False)


def test_the_command_repeats_the_params(project: Path) -> None:
    """Without a command of the user, DVC's with the changed params: a shell reads it as it is meant."""
    assert repeat_lines(project, read_repository(project), None)[-1] == "dvc repro"
    changed = {**PARAMS, "training": {**PARAMS["training"], "losses": ["dice_ce", "it's"], "seed": 2}}
    (project / "params.yaml").write_text(yaml.safe_dump(changed))
    checkout, command = repeat_lines(project, read_repository(project), None)
    assert checkout == f"git switch --detach {git(project, 'rev-parse', 'HEAD')[:12]}"
    words = shlex.split(command)
    assert words[:3] == ["dvc", "exp", "run"]
    assert "training.seed=2" in words
    assert r"training.losses=['dice_ce','it\'s']" in words
    assert repeat_lines(project, None, "./just experiment") == ("./just experiment",)


def test_the_experiment_that_lies_here_is_found_by_its_lock_file(project: Path) -> None:
    """The DVC experiment whose dvc.lock is the workspace's; none if none has it."""
    assert current_experiment(project) is None
    baseline = git(project, "rev-parse", "HEAD").strip()
    (project / "dvc.lock").write_text("of the experiment\n")
    git(project, "commit", "-qam", "experiment")
    git(project, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/my-exp", "HEAD")
    git(project, "update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    git(project, "reset", "-q", "--hard", baseline)
    assert current_experiment(project) is None
    (project / "dvc.lock").write_text("of the experiment\n")
    assert current_experiment(project) == "my-exp"


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # DVC's own
def test_stale_stages_come_from_dvc(project: Path) -> None:
    """DVC itself says which stages are not of the present files; where it cannot, the error says why."""
    with pytest.raises(CapillaryError, match="DVC cannot compare"):
        changed_stages(project)
    Repo.init(str(project))
    (project / "in.txt").write_text("1")
    (project / "dvc.yaml").write_text("stages: {copy: {cmd: cp in.txt out.txt, deps: [in.txt], outs: [out.txt]}}\n")
    (project / "dvc.lock").unlink()
    with contextlib.chdir(project):
        Repo().reproduce()
    assert changed_stages(project) == ()
    (project / "in.txt").write_text("2")
    assert changed_stages(project) == ("copy",)


def test_a_project_without_any_result_has_a_report(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is missing, each with its sentence; both files are there and nothing else."""
    run_here(monkeypatch)
    page = write_report(project, "nothing yet", RunFacts(command="./just experiment"), Stop())
    assert page == project / "reports" / "nothing yet" / "report.html"
    assert sorted(file.name for file in page.parent.iterdir()) == ["report.html", "report.md"]
    text = page.with_suffix(".md").read_text()
    assert "metrics/metrics.json is not there" in text
    assert "DVC cannot compare" in page.read_text()
    assert "    ./just experiment\n" in text


@pytest.mark.parametrize("name", ["", "  ", "../elsewhere", "/tmp/x", ".hidden", "a/b", "a\nb", "a\0b"])
def test_a_name_that_is_no_folder_s_is_refused(project: Path, name: str) -> None:
    """No report is written outside reports/."""
    with pytest.raises(CapillaryError, match="name of its folder"):
        write_report(project, name, RunFacts(), Stop())
    assert not (project / "reports").exists()


def test_the_name_of_an_unfinished_evaluation_s_report_is_refused(project: Path) -> None:
    """The two would write over each other."""
    with pytest.raises(CapillaryError, match="unfinished evaluation") as caught:
        write_report(project, "partial", RunFacts(), Stop())
    assert caught.value.code == ExitCode.USAGE
    assert not (project / "reports").exists()
