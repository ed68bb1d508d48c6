"""`capillary export bioimageio` on the host: what its step is given, and whose folder it takes."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.executors.process import execute as process
from capillary.export import bioimageio
from capillary.export.bioimageio import Export, refuse_full, run_export
from capillary.lifetimes.stop import Stop
from capillary.planning.plan import StagePlan
from stages.common.errors import CapillaryError, ExitCode
from tests.support.parts import REPOSITORY


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which stages are plain processes, with an author known to Git."""
    for name in ("params.yaml", "dvc.yaml", "configs", "stages"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "config", "user.name", "Ada L."], cwd=tmp_path, check=True)
    monkeypatch.setenv("CAPILLARY_EXECUTOR", "process")
    return tmp_path


def asked(root: Path, model: str, **more: object) -> Export:
    given = {"authors": (), "license": "", **more}
    return Export(model=model, folder=root / "out", **given)  # type: ignore[arg-type]


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[StagePlan]:
    """The plans that would be executed, each of which leaves a package."""
    seen: list[StagePlan] = []

    def execute(plan: StagePlan, _stop: Stop, publish: Callable[[Path], None]) -> int:
        seen.append(plan)
        work = plan.root / "work"
        (work / "package").mkdir(parents=True)
        (work / "package/rdf.yaml").write_text("name: x\n")
        publish(work)
        return 0

    monkeypatch.setattr(process, "execute", execute)
    return seen


def test_a_card_is_handed_to_the_step_and_a_reference_named(root: Path, plans: list[StagePlan]) -> None:
    """The author is Git's unless somebody is named; the package appears whole."""
    card = root / "fold_0.json"
    card.write_text("{}")
    assert run_export(asked(root, str(card)), root, Stop()) == 0
    assert plans[0].argv == ("--card", "card.json", "--author=Ada L.")
    assert [dep.host for dep in plans[0].deps if dep.name == "card.json"] == [card]
    assert (root / "out/rdf.yaml").is_file()
    other = Export(model="capillary-x/1", folder=root / "out2", authors=("B", "C"), license="CC0-1.0")
    (root / "work").rename(root / "former")
    run_export(other, root, Stop())
    assert plans[1].argv == ("capillary-x/1", "--author=B", "--author=C", "--license=CC0-1.0")


def test_a_card_that_is_missing_is_no_name_of_a_model(root: Path, plans: list[StagePlan]) -> None:
    with pytest.raises(CapillaryError, match="the model card does not exist"):
        run_export(asked(root, "models/dice_ce/fold_0.json"), root, Stop())
    assert plans == []


def test_a_folder_with_something_in_it_is_left_alone(root: Path, plans: list[StagePlan]) -> None:
    """A file, a link and a full folder, too; an empty one is taken."""
    (root / "out").mkdir()
    refuse_full(root / "out")
    (root / "out/mine").write_text("x")
    (root / "link").symlink_to(root / "none")
    for place in (root / "out", root / "link", root / "params.yaml", root / "out/mine"):
        with pytest.raises(CapillaryError, match="needs a new folder") as caught:
            refuse_full(place)
        assert caught.value.code is ExitCode.USAGE
    with pytest.raises(CapillaryError):
        run_export(asked(root, "capillary-x/1"), root, Stop())
    assert plans == []


def test_without_an_author_nothing_starts(
    root: Path, plans: list[StagePlan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The format wants one, and nobody is made up."""
    subprocess.run(["git", "config", "--unset", "user.name"], cwd=root, check=True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "none"))
    with pytest.raises(CapillaryError, match="needs an author"):
        run_export(asked(root, "capillary-x/1"), root, Stop())
    assert plans == []
    assert bioimageio.PACKAGE == "package"
