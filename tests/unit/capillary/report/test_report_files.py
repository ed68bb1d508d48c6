"""What is read from files, Git and DVC: real repositories in their own folder."""

import contextlib
import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from capillary.report.facts import RunFacts
from capillary.report.model import Coverage
from capillary.report.sources.repository import (
    changed_stages,
    current_experiment,
    read_params,
    read_repository,
    repeat_lines,
)
from capillary.report.sources.results import (
    read_cards,
    read_coverage,
    read_curves,
    read_differences,
    read_metrics,
    read_overlays,
    read_volumes,
)
from capillary.report.write import write_report
from stages.common.cell_name import CellName
from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.metrics import METRICS
from stages.common.tracking.receipts import Receipt, write_receipt
from tests.unit.capillary.report.made import tiny_png

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


def write(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_metrics_are_read_exactly_and_a_null_is_none(tmp_path: Path) -> None:
    """Every bit of the file, and no number where it has none."""
    interval = {"mean": 0.1 + 0.2, "ci_low": None, "ci_high": float("nan")}
    write(tmp_path / "metrics" / "metrics.json", json.dumps({"a": dict.fromkeys(METRICS, interval)}))
    found = read_metrics(tmp_path)["a"]["dsc"]
    assert (found.mean, found.ci_low, found.ci_high) == (0.1 + 0.2, None, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        "{",
        '{"a": 1}',
        '{"a": {"dsc": {}}}',
        '{"a": {"dcs": {"mean": 1, "ci_low": 0, "ci_high": 1}}}',
        b"\xff\xfe",
        "[" * 100_000,
    ],
)
def test_metrics_of_another_form_are_refused_by_name(tmp_path: Path, content: str | bytes) -> None:
    """One error, which names the file and the remedy."""
    write(tmp_path / "metrics" / "metrics.json", content)
    with pytest.raises(DataError, match=r"metrics/metrics\.json"):
        read_metrics(tmp_path)


def test_what_a_partial_evaluation_lacks_is_read_beside_its_means(tmp_path: Path) -> None:
    """From the folder of its own; whole results lack nothing."""
    partial = {"missing": [{"loss": "b", "fold": 1}], "volumes": {"a": 2}, "of_volumes": 4}
    means = {"a": {"dsc": {"mean": 0.5, "ci_low": None, "ci_high": None}}}
    folder = Path("metrics/partial")
    write(tmp_path / folder / "metrics.json", json.dumps({"partial": partial, **means}))
    write(tmp_path / "metrics/metrics.json", json.dumps(means))
    assert read_coverage(tmp_path, folder) == Coverage(missing=(CellName("b", 1),), volumes={"a": 2}, of_volumes=4)
    assert read_coverage(tmp_path) is None
    assert read_metrics(tmp_path, folder) == read_metrics(tmp_path)
    write(tmp_path / folder / "metrics.json", json.dumps({"partial": {"missing": 3}, **means}))
    with pytest.raises(DataError, match="cannot be read"):
        read_coverage(tmp_path, folder)


def test_tables_with_missing_columns_or_words_for_numbers_are_refused(tmp_path: Path) -> None:
    """Not a KeyError in the middle of a report."""
    for reader, name in ((read_volumes, "per_volume.csv"), (read_differences, "paired.csv")):
        with pytest.raises(DataError, match="is not there"):
            reader(tmp_path)
        write(tmp_path / "metrics" / name, "loss,id\na,b\n")
        with pytest.raises(DataError, match="cannot be read"):
            reader(tmp_path)
    write(tmp_path / "metrics" / "training" / "a" / "fold_0.csv", "epoch,loss,validation_dsc\n1,many,\n")
    with pytest.raises(DataError, match=r"a/fold_0\.csv"):
        read_curves(tmp_path, [CellName("a", 0)])


def test_a_volume_is_of_its_group(tmp_path: Path) -> None:
    """A volume in a table without groups is its own."""
    write(tmp_path / "metrics/per_volume.csv", "loss,fold,id,group,dsc,rule\na,0,v1,m1,0.5,measured\n")
    assert [one.group for one in read_volumes(tmp_path)] == ["m1"]
    write(tmp_path / "metrics/per_volume.csv", "loss,fold,id,dsc,rule\na,0,v1,0.5,measured\n")
    assert [one.group for one in read_volumes(tmp_path)] == ["v1"]


def test_curves_and_cards_are_those_of_the_cells_of_params_yaml(tmp_path: Path) -> None:
    """In their order; an epoch without a validation has none. A fold or loss that was removed does not count."""
    for fold in (10, 2, 3):
        write(tmp_path / "metrics/training/a" / f"fold_{fold}.csv", "epoch,loss,validation_dsc\n1,0.5,\n2,,0.25\n")
        card = {"loss": "a", "fold": fold, "fingerprint": f"f{fold}", "epochs": 2}
        write(tmp_path / "models/a" / f"fold_{fold}.json", json.dumps({**card, "precision": "fp32"}))
    write(tmp_path / "models/a/fold_x.json", "{}")
    cells = [CellName("a", 2), CellName("a", 10), CellName("b", 2)]
    curves = read_curves(tmp_path, cells)
    assert [curve.fold for curve in curves] == [2, 10]
    assert (curves[0].training_loss, curves[0].validation_dsc) == ((0.5, None), (None, 0.25))
    receipt = Receipt(run_id="r", name="capillary-a", version="3", weights_sha256="")
    write_receipt(tmp_path / ".capillary" / "receipts", "f10", "http://h", receipt)
    found = [(card.fold, card.run_id, card.model_version) for card in read_cards(tmp_path, cells, "http://h")]
    assert found == [(2, "", ""), (10, "r", "3")]
    write(tmp_path / "models/a/fold_10.json", '{"fingerprint": "f", "loss": "a", "fold": 1e999}')
    with pytest.raises(DataError, match="cannot be read"):
        read_cards(tmp_path, cells, "http://h")


def test_overlays_must_be_pictures(tmp_path: Path) -> None:
    """A file that is not a PNG file never reaches the page."""
    names = [
        f"best_{view}_{n}_{p}.png" for view in ("slice", "projection") for n, p in enumerate(("image", "error"), 1)
    ]
    entry = {"rank": "best", "loss": "a", "fold": 0, "id": "v", "metric": "dsc", "value": 0.5, "slice_z": 1, "depth": 4}
    write(tmp_path / "metrics/overlays.json", json.dumps([{**entry, "sides_um": [10, 20], "pictures": names}]))
    for name in names:
        write(tmp_path / "metrics/overlays" / name, tiny_png())
    (found,) = read_overlays(tmp_path)
    assert (found.aspect, found.pixels) == (2.0, 1)
    assert [panel.name for panel in found.projection] == ["image", "error"]
    for odd in ({"sides_um": [0, 20], "pictures": names}, {"sides_um": [10, 20], "pictures": []}):
        write(tmp_path / "metrics/overlays.json", json.dumps([{**entry, **odd}]))
        with pytest.raises(DataError, match="cannot be read"):
            read_overlays(tmp_path)
    write(tmp_path / "metrics/overlays.json", json.dumps([{**entry, "sides_um": [10, 20], "pictures": names}]))
    write(tmp_path / "metrics/overlays" / names[0], "<svg onload='alert(1)'/>")
    with pytest.raises(DataError) as caught:
        read_overlays(tmp_path)
    assert "is not a PNG file" in str(caught.value.value)


def test_a_project_without_any_result_has_a_report(project: Path) -> None:
    """Everything is missing, each with its sentence; both files are there and nothing else."""
    page = write_report(project, "nothing yet", RunFacts(command="./just experiment"))
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
        write_report(project, name, RunFacts())
    assert not (project / "reports").exists()


def test_the_name_of_an_unfinished_evaluation_s_report_is_refused(project: Path) -> None:
    """The two would write over each other."""
    with pytest.raises(CapillaryError, match="unfinished evaluation") as caught:
        write_report(project, "partial", RunFacts())
    assert caught.value.code == ExitCode.USAGE
    assert not (project / "reports").exists()
