"""`capillary weights keep`: the team's choice, what its step may touch, and weights/ in DVC's keeping."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop
from capillary.models.steps import Step, plan_step
from capillary.planning.access import read_access
from capillary.planning.make_plan import _kept_weights
from capillary.settings import read_settings
from capillary.weights import keep
from capillary.weights.choice import weights_in_remote
from capillary.weights.keep import keep_weights
from stages.common.errors import CapillaryError, ExitCode, ParamsError
from stages.weights import keep as stage_side
from tests.support.parts import REPOSITORY


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a card, in which stages are plain processes."""
    for name in ("params.yaml", "dvc.yaml", "stages"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("CAPILLARY_EXECUTOR", "process")
    return tmp_path


def choose(root: Path, text: str) -> None:
    (root / "configs/tracking.yaml").write_text(text)


def test_the_registry_alone_is_the_default(root: Path) -> None:
    """The command says how to choose otherwise; a project without the file has the default."""
    assert not weights_in_remote(root)
    with pytest.raises(CapillaryError, match="registry only") as caught:
        keep_weights(root, Stop())
    assert caught.value.code is ExitCode.USAGE
    (root / "configs/tracking.yaml").unlink()
    assert not weights_in_remote(root)


@pytest.mark.parametrize(
    "text", ["tracking: {weights_in_remot: true}", "tracking: {weights_in_remote: 1}", "tracking: {}", "track: {}"]
)
def test_a_mistake_in_the_choice_is_refused(text: str, root: Path) -> None:
    """With the key's name: it must not mean no by mistake."""
    choose(root, text)
    with pytest.raises(ParamsError, match=r"weights_in_remot|track"):
        weights_in_remote(root)


def test_stages_that_load_networks_see_the_kept_ones(root: Path) -> None:
    """Read-only and without a dep, because a card names them by their hash; others do not, and nobody does before."""
    seen = {"evaluate": True, "predict": True, "train": False, "models": False, "weights": False}
    for stage, sees in seen.items():
        access = read_access(root, stage)
        assert list(_kept_weights(access, root)) == []
        assert access.weights is sees
    (root / "weights").mkdir()
    (dep,) = _kept_weights(read_access(root, "predict"), root)
    assert (dep.name, dep.host) == ("weights", root / "weights")


def test_the_step_reads_cards_and_what_was_kept(root: Path) -> None:
    """It writes its own folder."""
    (root / "weights").mkdir()
    step = Step(stage="weights", argv=(), takes="models", makes="kept", root=root)
    plan = plan_step(step, root, read_settings(root), process, also={"former": root / "weights"})
    assert [dep.name for dep in plan.deps][-2:] == ["models", "former"]
    assert plan.outs == ("kept",)


def test_both_sides_of_the_step_call_its_folders_alike() -> None:
    """The host mounts and takes what the stage reads and makes."""
    assert (keep.MADE, keep.FORMER) == (stage_side.MADE, stage_side.FORMER)
    assert keep.CARDS == "models"


def test_what_the_step_made_becomes_weights(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of what was there."""
    for folder, name in (("weights", "old"), ("work/kept", "new")):
        (root / folder).mkdir(parents=True)
        (root / folder / name).write_text(name)
    monkeypatch.setattr(keep, "plan_step", lambda *_, **__: None)
    executor = SimpleNamespace(execute=lambda _plan, _stop, publish: publish(root / "work") or 0)
    assert keep._make(root, read_settings(root), executor, Stop()) == 0  # type: ignore[arg-type]
    assert [file.name for file in (root / "weights").iterdir()] == ["new"]


def test_the_folder_is_handed_to_dvc(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only after a step that ended well; DVC's refusal is an error of ours."""
    choose(root, "tracking: {weights_in_remote: true}")
    monkeypatch.setattr(keep, "_make", lambda *_: 7)
    monkeypatch.setattr(keep, "DVC", ("sh", "-c", 'echo "$@" >> added; exit 0', "x"))
    assert keep_weights(root, Stop()) == 7
    assert not (root / "added").exists()
    monkeypatch.setattr(keep, "_make", lambda *_: 0)
    capsys.readouterr()
    assert keep_weights(root, Stop()) == 0
    assert "weights" in (root / "added").read_text()
    assert "commit weights.dvc, then dvc push" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(keep, "DVC", ("sh", "-c", "echo overlaps >&2; exit 1", "x"))
    with pytest.raises(CapillaryError, match="cannot add") as caught:
        keep_weights(root, Stop())
    assert caught.value.value == "overlaps"
