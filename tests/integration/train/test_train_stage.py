import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from stages.common.imaging.recipe import write_recipe
from stages.common.networks.weights import weights_sha256
from stages.common.program.ending import run_main
from stages.common.runtime import Runtime
from stages.common.tracking.cards.card import ModelCard, read_card
from stages.common.tracking.server import connect
from stages.train.__main__ import main
from stages.train.cell import plan_cell
from stages.train.params import TrainingParams
from stages.train.resuming.lock import cell_lock
from stages.train.training import train_cell
from tests.integration.train.train_sandbox import Sandbox, make_sandbox
from tests.support.models.recipe import RECIPE
from tests.support.tracking.tracked import embedded_runtime, load
from tests.unit.stages.train.tiny import tiny_params

TrainHere = Callable[[Sandbox, TrainingParams], ModelCard]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, str]:
    """A sandbox after one run of the stage, with what it printed."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("trained"), max_epochs=3)
    result = sandbox.run()
    assert result.returncode == 0, result.stdout + result.stderr
    return sandbox, result.stdout


@pytest.fixture
def trained_here() -> Iterator[TrainHere]:
    """Trains fold 0 of a sandbox in this process; torch is as before afterwards."""
    threads = torch.get_num_threads()

    def train_here(sandbox: Sandbox, params: TrainingParams) -> ModelCard:
        cell = plan_cell(sandbox.folder / "data" / "processed", params, "dice_ce", 0)
        card, _ = train_cell(cell, replace(_runtime(sandbox), stage="train", fingerprint="f" * 12))
        return card

    yield train_here
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def _runtime(sandbox: Sandbox) -> Runtime:
    state = sandbox.folder / "other-state"
    uri = f"sqlite:///{sandbox.folder}/mlruns/mlflow.db"
    return embedded_runtime(state, stage="evaluate", fingerprint="other", tracking_uri=uri, artifact_root=None)


def test_the_card_leads_to_the_registered_weights_of_the_last_epoch(trained: tuple[Sandbox, str]) -> None:
    """What evaluate will load is what the final checkpoint holds, bit for bit."""
    sandbox, _ = trained
    card = read_card(sandbox.folder / "models/dice_ce/fold_0.json")
    assert (card.loss, card.fold, card.epochs, card.patch_voxels) == ("dice_ce", 0, 3, (4, 16, 16))
    assert (card.fingerprint, card.precision) == ("f" * 12, "fp32")
    assert card.domain is not None
    assert card.domain.lowest_um <= card.domain.highest_um
    model = load(card, connect(_runtime(sandbox)))
    assert weights_sha256(model) == card.weights_sha256
    saved = sandbox.checkpoint()["state"]
    assert saved["epoch"] == 3
    parts = {name.partition(".")[::2]: tensor for name, tensor in saved["network"].items()}
    network = {name: tensor for (part, name), tensor in parts.items() if part == "network"}
    assert {part for part, _ in parts} == {"network", "heads"}, "trained with deep supervision"
    torch.testing.assert_close(dict(model.state_dict()), network, rtol=0, atol=0)
    assert card.validation_dsc == saved["history"][-1]["validation_dsc"]


def test_the_outs_are_the_declared_ones_and_the_curve_has_one_row_an_epoch(trained: tuple[Sandbox, str]) -> None:
    """One card, one CSV, nothing else besides state and the embedded MLflow store."""
    sandbox, _ = trained
    written = {
        str(path.relative_to(sandbox.folder)) for folder in ("models", "metrics") for path in _files(sandbox, folder)
    }
    assert written == {"models/dice_ce/fold_0.json", "metrics/training/dice_ce/fold_0.csv"}
    rows = (sandbox.folder / "metrics/training/dice_ce/fold_0.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    assert {"epoch", "loss", "learning_rate", "validation_dsc", "nonfinite_steps"} <= set(rows[0].split(","))


def _files(sandbox: Sandbox, folder: str) -> list[Path]:
    return [path for path in (sandbox.folder / folder).rglob("*") if path.is_file()]


def test_a_log_has_one_line_an_epoch_with_loss_rate_and_time_left(trained: tuple[Sandbox, str]) -> None:
    """Readable in a file, without control characters."""
    _, output = trained
    lines = [line for line in output.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert all("loss" in line and "lr" in line and "s/epoch" in line for line in lines)
    assert " DSC 0." in lines[-1]
    assert "\x1b" not in output


def test_mlflow_holds_one_finished_run_with_params_curves_fingerprints_and_the_network(
    trained: tuple[Sandbox, str],
) -> None:
    """Everything needed to know what was trained on what."""
    sandbox, _ = trained
    (run,) = sandbox.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["training.learning_rate"] == "0.01"
    assert run.data.params["loss"] == "dice_ce"
    assert run.data.params["validation_volumes"] == "volume_0"
    assert "kernel 1×3×3" in run.data.params["network"]
    assert run.data.params["training.architecture"] == "dynunet"
    assert run.data.params["network_heads"] == "2"
    model = load(read_card(sandbox.folder / "models/dice_ce/fold_0.json"), connect(_runtime(sandbox)))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert run.data.params["network_parameters"] == str(counted), "the registered network's, without heads"
    assert run.data.tags["capillary.fingerprint"] == "f" * 12
    points = sandbox.client().get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in points] == [1, 2, 3]


def test_a_second_process_waits_for_the_cell_and_then_changes_neither_card_nor_registry(
    trained: tuple[Sandbox, str],
) -> None:
    """Two never train one cell at once. The later one takes over what is there, as the same command does that was
    killed between training and publishing: it rewrites the same outs and registers nothing new.
    """
    sandbox, _ = trained
    outs = [sandbox.folder / "models/dice_ce/fold_0.json", sandbox.folder / "metrics/training/dice_ce/fold_0.csv"]
    before = [path.read_bytes() for path in outs]
    for path in outs:
        path.unlink()
    with cell_lock(sandbox.folder / "state"):
        second = sandbox.start()
        assert second.stdout is not None
        waiting = second.stdout.readline()
    output = second.stdout.read()
    second.stdout.close()
    assert second.wait() == 0, output
    assert waiting == f"waiting for process {os.getpid()}, which holds this cell\n"
    assert "resuming after epoch 3" in output
    assert [path.read_bytes() for path in outs] == before
    assert len(sandbox.client().search_model_versions("name = 'capillary-dice_ce'")) == 1
    assert len(sandbox.runs()) == 1


def test_started_by_hand_on_data_prepared_anew_the_former_checkpoint_is_refused(
    trained: tuple[Sandbox, str], tmp_path: Path
) -> None:
    """Else the weights of the previous data would be registered as made from the new ones."""
    sandbox = Sandbox(folder=tmp_path / "copy")
    shutil.copytree(trained[0].folder, sandbox.folder)
    write_recipe(sandbox.folder / "data" / "processed", replace(RECIPE, percentile_low=1.0))
    result = sandbox.run()
    assert result.returncode == 4, result.stderr
    assert "the checkpoint belongs to another training" in result.stderr
    assert "data/processed" in result.stderr


def test_what_cannot_be_trained_is_refused_by_name_before_any_run_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss, a fold, a key, a patch: one screen with the remedy and the kind's exit code."""
    sandbox = make_sandbox(tmp_path)
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    for changes, arguments, code, words in (
        ({}, {"loss": "dise_ce"}, 3, "did you mean `dice_ce`"),
        ({}, {"fold": "9"}, 4, "fold 9 does not exist"),
        ({"lrr": 1}, {}, 3, "unknown key `lrr`"),
        ({"filters": [2] * 6}, {}, 3, "patch_voxels"),
        ({"architecture": "segresnt"}, {}, 3, "did you mean `segresnet`"),
    ):
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"training": {**params["training"], **changes}}))
        named = {"loss": "dice_ce", "fold": "0", **arguments}
        monkeypatch.setattr(sys, "argv", ["stages.train", "--loss", named["loss"], "--fold", named["fold"]])
        with pytest.raises(SystemExit) as end:
            run_main(main)
        said = capsys.readouterr().err
        assert end.value.code == code, said
        assert words in said
        assert "remedy:" in said
    assert not (tmp_path / "mlruns").exists()
    assert _files(sandbox, "models") == []


@pytest.mark.parametrize("architecture", ["segresnet", "unet"])
def test_another_architecture_is_trained_and_registered_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trained_here: TrainHere, architecture: str
) -> None:
    """From its name in the params to a model that predicts; what has no heads is trained without them."""
    sandbox = make_sandbox(tmp_path)
    params = tiny_params(architecture=architecture, max_epochs=1, precision="auto")
    card = trained_here(sandbox, params)
    model = load(card, connect(_runtime(sandbox)))
    assert type(model).__name__.lower() == architecture
    assert model(torch.rand(1, 1, 4, 16, 16)).shape == (1, 2, 4, 16, 16)
    (run,) = sandbox.runs()
    assert run.data.params["network_heads"] == ("2" if architecture == "segresnet" else "1")
    assert ("shows no decoder" in capsys.readouterr().out) == (architecture == "unet")
