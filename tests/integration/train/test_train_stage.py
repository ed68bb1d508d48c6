import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from stages.common.imaging.recipe import write_recipe
from stages.common.networks.weights import weights_sha256
from stages.common.runtime import Runtime
from stages.common.tracking.cards.card import read_card
from stages.common.tracking.server import connect
from tests.integration.train.train_sandbox import Sandbox, make_sandbox
from tests.support.models.recipe import RECIPE
from tests.support.tracking.tracked import embedded_runtime, load


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, str]:
    """A sandbox after one run of the stage, with what it printed."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("trained"), max_epochs=3)
    result = sandbox.run()
    assert result.returncode == 0, result.stdout + result.stderr
    return sandbox, result.stdout


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


def test_running_again_after_the_end_changes_neither_card_nor_registry(trained: tuple[Sandbox, str]) -> None:
    """Killed between training and publishing: the same command rewrites the same outs and registers nothing new."""
    sandbox, _ = trained
    outs = [sandbox.folder / "models/dice_ce/fold_0.json", sandbox.folder / "metrics/training/dice_ce/fold_0.csv"]
    before = [path.read_bytes() for path in outs]
    for path in outs:
        path.unlink()
    result = sandbox.run()
    assert result.returncode == 0, result.stdout + result.stderr
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


def test_what_cannot_be_trained_is_refused_by_name_before_any_run_is_opened(tmp_path: Path) -> None:
    """A loss, a fold, a key, a patch: one screen with the remedy and the kind's exit code."""
    sandbox = make_sandbox(tmp_path)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    for changes, arguments, code, words in (
        ({}, {"loss": "dise_ce"}, 3, "did you mean `dice_ce`"),
        ({}, {"fold": 9}, 4, "fold 9 does not exist"),
        ({"lrr": 1}, {}, 3, "unknown key `lrr`"),
        ({"filters": [2] * 6}, {}, 3, "patch_voxels"),
        ({"architecture": "segresnt"}, {}, 3, "did you mean `segresnet`"),
    ):
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"training": {**params["training"], **changes}}))
        result = sandbox.run(**arguments)
        assert result.returncode == code, result.stderr
        assert words in result.stderr
        assert "remedy:" in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "mlruns").exists()
    assert _files(sandbox, "models") == []


@pytest.mark.parametrize("architecture", ["segresnet", "unet"])
def test_another_architecture_is_trained_and_registered_the_same_way(tmp_path: Path, architecture: str) -> None:
    """From its name in the params to a model that predicts; what has no heads is trained without them."""
    sandbox = make_sandbox(tmp_path, architecture=architecture, max_epochs=1, precision="auto")
    result = sandbox.run()
    assert result.returncode == 0, result.stdout + result.stderr
    model = load(read_card(tmp_path / "models/dice_ce/fold_0.json"), connect(_runtime(sandbox)))
    assert type(model).__name__.lower() == architecture
    assert model(torch.rand(1, 1, 4, 16, 16)).shape == (1, 2, 4, 16, 16)
    (run,) = sandbox.runs()
    assert run.data.params["network_heads"] == ("2" if architecture == "segresnet" else "1")
    assert ("shows no decoder" in result.stdout) == (architecture == "unet")


def test_a_second_process_on_the_same_cell_waits_and_then_finds_the_work_done(tmp_path: Path) -> None:
    """Two processes never train one cell at once; the later one takes over what is there."""
    sandbox = make_sandbox(tmp_path, max_epochs=40)
    first = sandbox.start()
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("epoch 1/"):
            break
    second = sandbox.start()
    assert second.stdout is not None
    first_output, second_output = first.stdout.read(), second.stdout.read()
    assert first.wait() == 0, first_output
    assert second.wait() == 0, second_output
    assert f"waiting for process {first.pid}" in second_output or "resuming after epoch 40" in second_output
    assert "resuming after epoch 40" in second_output
    assert len(sandbox.client().search_model_versions("name = 'capillary-dice_ce'")) == 1
    for process in (first, second):
        assert process.stdout is not None
        process.stdout.close()
