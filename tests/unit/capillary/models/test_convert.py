"""`capillary models convert` before anything starts: consent, what each step may touch, and the cards afterwards."""

import json
from pathlib import Path

import pytest

from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop
from capillary.models import convert as command
from capillary.models.convert import Conversion, consent, run_conversion
from capillary.models.steps import plan_step
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode
from tests.support.parts import REPOSITORY


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with the repository's access rules, a remote server and its login."""
    for name in ("params.yaml", "dvc.yaml", "configs", "stages"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    monkeypatch.setenv("CAPILLARY_EXECUTOR", "process")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    return tmp_path


def test_nothing_starts_without_consent(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question says what will be unpickled and where; a no is a usage error that names --yes."""
    asked: list[str] = []

    def no(question: str) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr(process, "execute", None)
    with pytest.raises(CapillaryError, match="nothing was converted") as caught:
        run_conversion(Conversion(references=(), agreed=False), root, Stop(), no)
    assert caught.value.code is ExitCode.USAGE
    assert "--yes" in caught.value.remedy
    assert "plain process on this machine" in asked[0]
    assert "container without a network" in consent(in_container=True)


def test_the_step_that_unpickles_has_no_network_and_no_login(root: Path) -> None:
    """Only the steps before and after it reach the registry, and these get no pickle to read or none unopened."""
    settings = read_settings(root)
    for name in ("fetched", "converted"):
        (root / name).mkdir()
    steps = command._steps(Conversion(references=("capillary-x/1",), agreed=True), root)
    fetch, convert, register = (plan_step(step, root, settings, process) for step in steps)
    assert [plan.stage for plan in (fetch, convert, register)] == ["models", "convert", "models"]
    assert (fetch.argv, register.argv) == (("fetch", "capillary-x/1"), ("register",))
    assert (fetch.needs_network, convert.needs_network, register.needs_network) == (True, False, True)
    assert convert.access.network == "none"
    assert "s3cret" in fetch.environment.values()
    assert not any(name.startswith("MLFLOW") for name in convert.environment)
    assert convert.writable == ()
    assert [dep.name for dep in convert.deps] == ["stages/__init__.py", "stages/common", "stages/convert", "fetched"]
    assert [plan.outs for plan in (fetch, convert, register)] == [("fetched",), ("converted",), ("cards",)]


def test_cards_of_converted_versions_are_replaced(root: Path, tmp_path: Path) -> None:
    """Those that name the old version; others, and what is not a card, stay as they are."""
    texts = {"dice_ce/fold_0": {"model_name": "capillary-dice_ce", "model_version": "1"}, "dice_ce/fold_1": []}
    texts["cbdice/fold_0"] = {"model_name": "capillary-cbdice", "model_version": "1"}
    for name, data in texts.items():
        file = root / "models" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(data))
    card = {"loss": "dice_ce", "files": {}}
    made = tmp_path / "0.json"
    made.write_text(json.dumps({"name": "capillary-dice_ce", "converted_from": "1", "version": "4", "card": card}))
    command._update_cards(root, [made])
    assert json.loads((root / "models/dice_ce/fold_0.json").read_text()) == card
    for name in ("dice_ce/fold_1", "cbdice/fold_0"):
        assert json.loads((root / "models" / f"{name}.json").read_text()) == texts[name]
