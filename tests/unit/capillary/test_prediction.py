"""`capillary predict` before anything starts: what is refused, which cards count, and what the stage is given."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.executors.process import execute as process
from capillary.executors.sandbox import links_of, outermost
from capillary.lifetimes.stop import Stop
from capillary.planning.plan import StagePlan
from capillary.prediction import running
from capillary.prediction.cards import choose_cards
from capillary.prediction.checks import check_request
from capillary.prediction.components import chosen_size_um3
from capillary.prediction.names import parse_spacing, stack_request
from capillary.prediction.plan import Prediction, plan_prediction, visible_params
from capillary.prediction.run import run_prediction
from capillary.settings import read_settings
from stages.common.cell_name import CellName, every_cell
from stages.common.errors import CapillaryError, DataError, ExitCode, ParamsError
from stages.common.machine.gpus import Gpu
from stages.common.requests.prediction.request import PredictRequest
from tests.support.parts import REPOSITORY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with the repository's params and access rules, two losses and three folds of cards, and a stack."""
    for name in ("params.yaml", "dvc.yaml", "configs", "stages"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for loss in ("dice_ce", "cbdice"):
        for fold in (0, 1, 10):
            file = tmp_path / "models" / loss / f"fold_{fold}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
    (tmp_path / "mouse 1.tif").write_bytes(b"stack")
    return tmp_path


STACK = {"image": "mouse 1.tif", "mask": "seg.nii.gz", "probability": False, "picture": False, "spacing_um": None}


def make_request(root: Path, **changes: Any) -> PredictRequest:
    of_stack = {name: changes.pop(name, value) for name, value in STACK.items()}
    image, mask = root / of_stack.pop("image"), root / of_stack.pop("mask")
    return PredictRequest(**{"stacks": (stack_request(image, mask, **of_stack),), "loss": "dice_ce", **changes})


def test_files_beside_the_mask_are_named_after_it(root: Path) -> None:
    """The whole suffix counts: .nii.gz and .ome.tif are one."""
    (stack,) = make_request(root, probability=True, picture=True).stacks
    assert [file.name for file in stack.files] == ["seg.nii.gz", "seg_probability.nii.gz", "seg.png"]
    (other,) = make_request(root, mask="a.b.OME.TIF", probability=True, picture=True).stacks
    assert [file.name for file in other.files] == ["a.b.OME.TIF", "a.b_probability.OME.TIF", "a.b.png"]


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"image": "nowhere.tif"}, ExitCode.DATA, "does not exist"),
        ({"mask": "seg.png"}, ExitCode.USAGE, "cannot be written in this format"),
        ({"mask": "seg"}, ExitCode.USAGE, "cannot be written in this format"),
        ({"mask": "mouse 1.tif", "force": True}, ExitCode.USAGE, "would replace the stack"),
        ({"mask": "there.tif"}, ExitCode.USAGE, "already exists"),
        ({"mask": "new.tif", "picture": True}, ExitCode.USAGE, "already exists"),
        ({"mask": "folder.tif", "force": True}, ExitCode.USAGE, "a folder"),
        ({"model": "capillary-dice_ce"}, ExitCode.USAGE, "--model"),
        ({"model": "capillary-dice_ce", "loss": None, "folds": (0,)}, ExitCode.USAGE, "--model"),
        ({"image": "notes.txt"}, ExitCode.USAGE, "the format is not supported"),
    ],
)
def test_what_cannot_be_is_refused(root: Path, changes: dict[str, Any], code: ExitCode, text: str) -> None:
    """Each with its kind of exit code, before anything runs."""
    (root / "there.tif").touch()
    (root / "new.png").touch()
    (root / "notes.txt").touch()
    (root / "folder.tif").mkdir()
    with pytest.raises(CapillaryError, match=text) as raised:
        check_request(make_request(root, **changes))
    assert raised.value.code == code


def test_force_and_a_new_folder_are_taken(root: Path) -> None:
    """A file that is there may be replaced on demand; a folder is made when the mask is there."""
    (root / "seg.nii.gz").touch()
    check_request(make_request(root, force=True))
    check_request(make_request(root, mask=root / "far" / "away" / "seg.tif"))
    assert not (root / "far").exists()


def test_a_model_of_the_registry_needs_no_loss(root: Path) -> None:
    """Nor does it look at the cards that are here."""
    check_request(make_request(root, model="capillary-dice_ce", loss=None))


def test_a_folder_in_which_nothing_can_be_written_is_refused(root: Path) -> None:
    """Before the work, and named: the nearest folder that exists. Also for root, to whom the system says yes."""
    with pytest.raises(CapillaryError, match="nothing can be written") as raised:
        check_request(make_request(root, mask=Path("/proc/far/away/seg.tif")))
    assert (raised.value.code, raised.value.file) == (ExitCode.MACHINE, Path("/proc"))


@pytest.mark.parametrize(("text", "found"), [("5,1,0.5", (5.0, 1.0, 0.5)), (" 2, 1e-1 ,3 ", (2.0, 0.1, 3.0))])
def test_a_spacing_is_three_lengths(text: str, found: tuple[float, float, float]) -> None:
    """z, y, x."""
    assert parse_spacing(text) == found
    assert parse_spacing(None) is None


@pytest.mark.parametrize("text", ["5,1", "5,1,1,1", "5;1;1", "0,1,1", "-1,1,1", "nan,1,1", "inf,1,1", "a,b,c", ""])
def test_anything_else_is_no_spacing(text: str) -> None:
    """Exit code 2."""
    with pytest.raises(CapillaryError, match="--spacing-um") as raised:
        parse_spacing(text)
    assert raised.value.code == ExitCode.USAGE


def test_cards_are_those_of_one_loss_in_the_order_of_folds(root: Path) -> None:
    """All folds unless some are named; fold 10 comes after fold 1."""
    assert choose_cards(root, "cbdice", ()) == tuple(f"models/cbdice/fold_{fold}.json" for fold in (0, 1, 10))
    assert choose_cards(root, "cbdice", (10, 0, 0)) == ("models/cbdice/fold_0.json", "models/cbdice/fold_10.json")
    (root / "models" / "cbdice" / "fold_x.json").touch()
    assert len(choose_cards(root, "cbdice", ())) == 3


def test_several_losses_are_a_question_to_the_user(root: Path) -> None:
    """With one loss there is nothing to ask; with two the error names both."""
    with pytest.raises(CapillaryError) as raised:
        choose_cards(root, None, ())
    assert (raised.value.code, raised.value.value) == (ExitCode.USAGE, "cbdice, dice_ce")
    for file in (root / "models" / "cbdice").iterdir():
        file.unlink()
    assert len(choose_cards(root, None, ())) == 3


def test_seeds_join_the_ensemble_and_can_be_chosen(root: Path) -> None:
    """All that params.yaml lists, first seeds first; the first one's number is on its cards."""
    first = tuple(f"models/cbdice/fold_{fold}.json" for fold in (0, 1))
    further = tuple(f"models/cbdice/seed_7/fold_{fold}.json" for fold in (0, 1))
    for file in first:
        (root / file).write_text('{"seed": 2026}')
    for file in further:
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).touch()
    cells = every_cell(["cbdice"], [0, 1], [7])
    assert choose_cards(root, "cbdice", (), cells) == first + further
    assert choose_cards(root, "cbdice", (1,), cells) == (first[1], further[1])
    assert choose_cards(root, "cbdice", (), cells, (2026,)) == first
    assert choose_cards(root, "cbdice", (0,), cells, (7,)) == further[:1]
    assert choose_cards(root, "cbdice", (), every_cell(["cbdice"], [0, 1], [])) == first
    assert choose_cards(root, "cbdice", (), every_cell(["cbdice"], [0, 1], []), (7,)) == further
    with pytest.raises(DataError, match="cbdice has no model of seed 8") as caught:
        choose_cards(root, "cbdice", (), cells, (8,))
    assert caught.value.remedy == "choose among the seeds 7, 2026"
    with pytest.raises(DataError, match="no model with both fold 10 and seed 7"):
        choose_cards(root, "cbdice", (10,), cells, (7,))


def test_a_card_of_a_cell_that_params_yaml_lost_counts_only_when_it_is_named(root: Path) -> None:
    """A loss or a fold that was removed is in no ensemble by itself."""
    cells = [CellName("cbdice", 0), CellName("cbdice", 1)]
    own = ("models/cbdice/fold_0.json", "models/cbdice/fold_1.json")
    assert choose_cards(root, None, (), cells) == own
    assert choose_cards(root, "cbdice", (), cells) == own
    assert choose_cards(root, "cbdice", (10,), cells) == ("models/cbdice/fold_10.json",)
    assert len(choose_cards(root, "dice_ce", (), cells)) == 3
    with pytest.raises(DataError, match="no model in models/ has a loss and fold that params") as raised:
        choose_cards(root, None, (), [CellName("warp", 0)])
    assert raised.value.value == "cbdice, dice_ce"


@pytest.mark.parametrize(
    ("loss", "folds", "text"),
    [("warp", (), "no model trained with the loss warp"), ("dice_ce", (5,), "no model of fold 5")],
)
def test_models_that_are_not_there_are_named(root: Path, loss: str, folds: tuple[int, ...], text: str) -> None:
    """Exit code 4."""
    with pytest.raises(DataError, match=text):
        choose_cards(root, loss, folds)


def test_an_untrained_workspace_says_what_to_do(tmp_path: Path) -> None:
    """No card at all."""
    with pytest.raises(DataError, match="no model to predict with") as raised:
        choose_cards(tmp_path, None, ())
    assert "dvc repro" in raised.value.remedy


def test_the_plan_gives_the_stage_its_stack_its_cards_and_nothing_else(root: Path) -> None:
    """Deps by name inside, outs in their own folder, the tracking store; a card behind a link is followed."""
    card = root / "models" / "dice_ce" / "fold_0.json"
    (root / "cached").write_text("{}")
    card.unlink()
    card.symlink_to(root / "cached")
    request = make_request(root, picture=True, spacing_um=(5.0, 1.0, 0.5), threshold=0.25, folds=(0,))
    planned = plan_prediction(request, root, read_settings(root, {"CAPILLARY_PROFILE": "cpu"}), process)
    plan = planned.stage
    assert plan.outs == ("prediction/seg.nii.gz", "prediction/seg.png")
    places = {dep.name: dep.host for dep in plan.deps}
    assert places["input/mouse 1.tif"] == root / "mouse 1.tif"
    assert places["models/dice_ce/fold_0.json"] == root / "cached"
    code = {name for name in places if name.startswith("stages/")}
    assert code == {"stages/__init__.py", "stages/common", "stages/predict"}
    assert len(places) == len(code) + 2
    assert len(links_of(plan.deps, root)) == len(outermost(map(Path, places)))
    assert plan.access.network == "tracking"
    assert not plan.access.resume
    assert plan.params["evaluation"]["threshold"] == 0.25
    assert plan.writable == (root / "mlruns", root / ".capillary/outbox", root / ".capillary/receipts")
    assert plan.argv == ()
    (stack,) = planned.request.stacks
    assert (stack.image, stack.mask) == (Path("input/mouse 1.tif"), Path("prediction/seg.nii.gz"))
    assert (stack.spacing_um, planned.request.cards) == ((5.0, 1.0, 0.5), (Path("models/dice_ce/fold_0.json"),))
    assert (stack.picture, stack.probability, planned.request.model) == (Path("prediction/seg.png"), None, None)
    assert PredictRequest.model_validate_json(json.dumps(planned.run.order.request)) == planned.request


def test_a_model_of_the_registry_comes_without_cards(root: Path) -> None:
    """The stage asks the registry itself; the probability is its own out."""
    request = make_request(root, model="capillary-dice_ce@best", loss=None, probability=True)
    planned = plan_prediction(request, root, read_settings(root, {"CAPILLARY_PROFILE": "cpu"}), process)
    plan = planned.stage
    assert not [dep for dep in plan.deps if dep.name.startswith("models")]
    assert plan.outs == ("prediction/seg.nii.gz", "prediction/seg_probability.nii.gz")
    (stack,) = planned.request.stacks
    assert (planned.request.model, planned.request.cards) == ("capillary-dice_ce@best", ())
    assert (stack.probability, stack.picture) == (Path("prediction/seg_probability.nii.gz"), None)


class Predictor:
    """An executor that writes the outs itself and ends with `code`; outs are published where that is 0."""

    def __init__(self, scratch: Path, code: int) -> None:
        self.scratch, self.code = scratch, code
        self.stop: object = None

    def environment_id(self, *_: object) -> list[str]:
        return []

    def gpus(self, _settings: object) -> tuple[Gpu, ...]:
        return ()

    def execute(self, plan: StagePlan, stop: object, publish: Callable[[Path], None]) -> int:
        self.stop = stop
        for out in plan.outs:
            (self.scratch / out).parent.mkdir(parents=True, exist_ok=True)
            (self.scratch / out).write_text(out)
        if self.code == 0:
            publish(self.scratch)
        return self.code


@pytest.fixture
def workspace(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That workspace as the current folder, without settings of this machine."""
    for name in [name for name in os.environ if name.startswith("CAPILLARY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(root)
    return root


def test_all_files_appear_where_the_user_wants_them(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Relative to where the command was typed, in folders that are made for them; previous ones are replaced."""
    predictor = Predictor(workspace / "scratch", code=0)
    monkeypatch.setattr(running, "choose_executor", lambda _settings: predictor)
    (workspace / "far").mkdir()
    (workspace / "far" / "seg.png").write_text("former")
    stop = Stop()
    names = {"probability": False, "picture": True, "spacing_um": None}
    stack = stack_request(Path("mouse 1.tif"), Path("far/seg.tif"), **names)
    request = PredictRequest(stacks=(stack,), loss="dice_ce", force=True)
    assert run_prediction(request, workspace, stop) == 0
    assert predictor.stop is stop
    assert (workspace / "far" / "seg.tif").read_text() == "prediction/seg.tif"
    assert (workspace / "far" / "seg.png").read_text() == "prediction/seg.png"
    assert "wrote far/seg.tif, far/seg.png" in capsys.readouterr().out


def test_a_prediction_that_fails_leaves_nothing_and_has_the_stages_code(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that cannot be is refused before an executor is chosen."""
    monkeypatch.setattr(running, "choose_executor", lambda _settings: Predictor(workspace / "scratch", code=8))
    assert run_prediction(make_request(workspace), workspace, Stop()) == 8
    assert not (workspace / "seg.nii.gz").exists()
    monkeypatch.delattr(running, "choose_executor")
    with pytest.raises(DataError, match="does not exist"):
        run_prediction(make_request(workspace, image=workspace / "nowhere.tif"), workspace, Stop())


def test_it_is_declared_as_an_entry_of_the_graph_would_be(root: Path) -> None:
    """No dep that is hashed: nothing of a prediction is recorded."""
    entry = Prediction(root=root, cards=("models/a/fold_0.json",), files=("prediction/x",), visible={})
    assert entry.dep_hashes() == {}
    assert entry.deps[-1] == "models/a/fold_0.json"


def with_evaluation(root: Path, **changes: Any) -> None:
    """params.yaml with `changes`."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["evaluation"] |= changes
    (root / "params.yaml").unlink()
    (root / "params.yaml").write_text(json.dumps(params))


def test_params_are_params_yaml_s_unless_the_command_says_otherwise(root: Path) -> None:
    """Only what predicting needs is visible."""
    with_evaluation(root, overlap=0.25, threshold=0.4, min_component_um3=12.0)
    seen = visible_params(make_request(root), root, ())["evaluation"]
    assert seen == {
        "overlap": 0.25,
        "threshold": 0.4,
        "test_time_flips": "none",
        "backend": "auto",
        "min_component_um3": 12.0,
    }
    told = visible_params(make_request(root, threshold=0.0, min_component_um3=0.0), root, ())["evaluation"]
    assert (told["threshold"], told["min_component_um3"]) == (0.0, 0.0)


def test_a_value_that_the_stage_would_refuse_is_named(root: Path) -> None:
    """Before anything starts: a value of params.yaml, and a key that no stage knows."""
    with_evaluation(root, overlap=2)
    with pytest.raises(ParamsError, match="overlap"):
        visible_params(make_request(root), root, ())
    with_evaluation(root, overlap=0.5, thresold=0.5)
    with pytest.raises(ParamsError, match="thresold"):
        visible_params(make_request(root), root, ())


def test_auto_takes_the_size_that_evaluate_chose_on_all_folds(root: Path) -> None:
    """That of the loss; where none was chosen the error says how to get one."""
    with_evaluation(root, min_component_um3="auto")
    cards = choose_cards(root, "dice_ce", ())
    with pytest.raises(DataError, match="no size has been chosen"):
        visible_params(make_request(root), root, cards)
    (root / "metrics").mkdir()
    lines = ["loss,fold,min_component_um3,dsc_before,dsc_after", "cbdice,all,7.5,0.1,0.2", "dice_ce,0,3.5,0.1,0.2"]
    (root / "metrics" / "components.csv").write_text("\n".join([*lines, "dice_ce,all,2.5,0.1,0.2", ""]))
    assert visible_params(make_request(root), root, cards)["evaluation"]["min_component_um3"] == 2.5
    assert chosen_size_um3(root, "cbdice") == 7.5
    (root / "metrics" / "components.csv").write_text("\n".join([lines[0], "dice_ce,all,0,0.1,0.2", ""]))
    assert chosen_size_um3(root, "dice_ce") is None
    for loss in ("cbdice", None):  # not evaluated; a model of the registry
        with pytest.raises(DataError, match="no size has been chosen"):
            chosen_size_um3(root, loss)
    told = visible_params(make_request(root, min_component_um3=9.0), root, cards)["evaluation"]
    assert told["min_component_um3"] == 9.0
