"""The evaluate stage as the launcher starts it: a folder with its deps, a registry, a process."""

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import yaml
from mlflow import MlflowClient

from stages.common.imaging.volumes import Checksums, Volume, write_manifest
from stages.common.splits import Fold, write_splits
from stages.common.tracking.cards.card import ModelCard, write_card
from stages.common.tracking.registry import register_model
from stages.evaluate.__main__ import main
from tests.support.in_process import run_in_process
from tests.support.models.networks import brightness_network, package_of
from tests.support.orders import write_order
from tests.support.parts import REPOSITORY
from tests.support.tracking.cards import CARD
from tests.support.tracking.tracked import embedded_runtime, plain_run
from tests.support.warm import warm_python

PARAMS = {
    "training": {"losses": ["dice_ce"], "folds": [0, 1], "seed": CARD.seed, "seeds": []},
    "evaluation": {
        "overlap": 0.5,
        "threshold": 0.5,
        "test_time_flips": "none",
        "backend": "auto",
        "min_component_um3": None,
        "metrics": ["dsc", "centreline_dsc", "measured_masd_um", "hd95_um", "nsd", "betti_0_error", "betti_1_error"],
        "nsd_tolerance_um": 1.0,
        "radius_bands_um": [3.0, 6.0],
        "bootstrap_iterations": 100,
        "confidence": 0.95,
        "seed": 1,
    },
}
SHAPE = (6, 40, 40)
TABLES = {
    "per_volume.parquet",
    "per_volume.csv",
    "summary.csv",
    "metrics.json",
    "paired.csv",
    "radius_bands.csv",
    "overlays.json",
    "calibration.csv",
    "calibration_volumes.csv",
    "components.csv",
    "spread.csv",
    "test_per_volume.csv",
}


def write_volumes(folder: Path) -> dict[str, float]:
    """Four volumes whose bright voxels are the label but for some noise; the DSC that each must get."""
    rows, expected = [], {}
    for index, name in enumerate(["a", "b", "c", "empty"]):
        rng = np.random.default_rng(index)
        label = np.zeros(SHAPE, dtype=np.bool_)
        label[2:4, 5 + index : 12 + index, :] = name != "empty"
        bright = label ^ (rng.random(SHAPE) < (0.02 if name != "empty" else 0))
        expected[name] = 2 * (label & bright).sum() / (label.sum() + bright.sum()) if label.any() else 1.0
        volume = Volume(
            id=name,
            group=name,
            shape_zyx=SHAPE,
            spacing_um=(5.0, 1.0, 1.0),
            foreground_share=float(label.mean()),
            fold=index % 2,
            folder=folder / name,
        )
        volume.folder.mkdir(parents=True)
        np.save(volume.folder / "image.npy", bright.astype(np.float32))
        np.save(volume.folder / "label.npy", label.astype(np.uint8))
        np.save(volume.folder / "skeleton.npy", label.astype(np.uint8))
        rows.append((volume, Checksums(image="", label="", skeleton="")))
    write_manifest(folder, rows)
    write_splits(folder, [Fold(train=("b", "empty"), val=("a", "c")), Fold(train=("a", "c"), val=("b", "empty"))])
    return expected


def register_cells(store: Path, models: Path) -> None:
    runtime = embedded_runtime(store, fingerprint="by-hand")
    for fold, precision in enumerate(("fp32", "bf16")):
        sharpness = 8.0 + fold  # vessel is what is brighter than 0.5
        package = package_of(
            brightness_network(-sharpness / 2, sharpness), patch_voxels=(8, 16, 16), precision=precision
        )
        run = plain_run(runtime)
        register_model(
            package, server=run.server, run_id=run.run_id, loss="dice_ce", fold=fold, fingerprint=CARD.fingerprint
        )
        card = dataclasses.replace(
            CARD,
            fold=fold,
            weights_sha256=package.weights_sha256,
            files=package.files,
            patch_voxels=(8, 16, 16),
            precision=precision,
        )
        write_card(models / "dice_ce" / f"fold_{fold}.json", card)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A finished training: processed volumes, cards, a store with two registered models."""
    root = tmp_path_factory.mktemp("trained")
    expected = write_volumes(root / "data" / "processed")
    register_cells(root / "mlruns", root / "models")
    return root, expected


@pytest.fixture
def sandbox(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> Path:
    """A working folder with what evaluate declares and nothing else."""
    source, _ = trained
    work = tmp_path / "work"
    for name in ("data", "models"):
        shutil.copytree(source / name, work / name)
    (work / "stages").symlink_to(REPOSITORY / "stages")
    (work / "metrics").mkdir()
    (work / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    return work


def run_stage(
    work: Path, store: Path, fingerprint: str = "evaluation-1", *more: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(work),
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db",
    }
    write_order(work, stage="evaluate", fingerprint=fingerprint, artifact_root=str(store / "artifacts"))
    argv = [warm_python(), "-m", "stages.evaluate", *more]
    return subprocess.run(argv, cwd=work, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_registered_models_are_measured_out_of_fold(sandbox: Path, trained: tuple[Path, dict[str, float]]) -> None:
    """Each volume gets the DSC that its bright voxels imply; MLflow has it all."""
    source, expected = trained
    first = run_stage(sandbox, source / "mlruns")
    assert first.returncode == 0, first.stderr
    table = pyarrow.parquet.read_table(sandbox / "metrics" / "per_volume.parquet").to_pylist()
    assert [(line["fold"], line["id"]) for line in table] == [(0, "a"), (0, "c"), (1, "b"), (1, "empty")]
    assert {line["id"]: line["dsc"] for line in table} == pytest.approx(expected)
    assert {line["id"]: line["rule"] for line in table} == dict.fromkeys("abc", "measured") | {"empty": "both_empty"}
    metrics = json.loads((sandbox / "metrics" / "metrics.json").read_text())
    dsc = metrics["dice_ce"]["dsc"]
    assert dsc["mean"] == pytest.approx(np.mean(list(expected.values())))
    assert (dsc["ci_low"], dsc["ci_high"]) == (None, None)  # of four groups
    assert f"{dsc['mean']:.3f}" in first.stdout
    assert "dice_ce: too few groups for an interval" in first.stdout

    written = {str(file.relative_to(sandbox / "metrics")) for file in (sandbox / "metrics").rglob("*.*")}
    assert written > TABLES
    assert len(written) == len(TABLES) + 3 * 8  # best, median and worst volume; two views of four panels

    client = MlflowClient(f"sqlite:///{source}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("capillary")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`capillary.fingerprint` = 'evaluation-1'")
    assert (run.info.run_name, run.info.status) == ("evaluation", "FINISHED")
    assert run.data.metrics["dice_ce.dsc"] == dsc["mean"]
    assert "dice_ce.dsc.ci_low" not in run.data.metrics
    stored = {Path(item.path).name for item in client.list_artifacts(run.info.run_id, "evaluation")}
    assert stored == {*TABLES, "overlays"}
    pictures = client.list_artifacts(run.info.run_id, "evaluation/overlays")
    assert {f"overlays/{Path(item.path).name}" for item in pictures} == written - TABLES


def test_without_a_cell_the_rest_is_measured_into_a_folder_of_its_own(
    sandbox: Path, trained: tuple[Path, dict[str, float]]
) -> None:
    """The card of that cell is not needed; results and the MLflow run say what is missing."""
    source, expected = trained
    (sandbox / "models" / "dice_ce" / "fold_1.json").unlink()
    done = run_stage(sandbox, source / "mlruns", "evaluation-partial", "--without", "dice_ce", "1", "first")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (sandbox / "metrics").iterdir()] == ["partial"]
    metrics = json.loads((sandbox / "metrics" / "partial" / "metrics.json").read_text())
    assert metrics["partial"]["volumes"] == {"dice_ce": 2}
    assert metrics["partial"]["of_volumes"] == 4
    assert metrics["dice_ce"]["dsc"]["mean"] == pytest.approx((expected["a"] + expected["c"]) / 2)
    client = MlflowClient(f"sqlite:///{source}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("capillary")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`capillary.fingerprint` = 'evaluation-partial'")
    assert (run.info.run_name, run.data.tags["capillary.missing"]) == ("partial evaluation", "dice_ce fold 1")


def test_small_parts_are_removed_below_a_size_that_the_other_fold_chose(
    sandbox: Path, trained: tuple[Path, dict[str, float]]
) -> None:
    """The specks of noise are gone from what is measured; components.csv says which size who chose."""
    source, expected = trained
    params = {**PARAMS, "evaluation": {**PARAMS["evaluation"], "min_component_um3": "auto"}}
    (sandbox / "params.yaml").write_text(yaml.safe_dump(params))
    done = run_stage(sandbox, source / "mlruns", fingerprint="evaluation-parts")
    assert done.returncode == 0, done.stderr
    table = pyarrow.parquet.read_table(sandbox / "metrics" / "per_volume.parquet").to_pylist()
    better = {line["id"]: line["dsc"] > expected[line["id"]] for line in table}
    assert better == {"a": True, "b": True, "c": True, "empty": False}
    with (sandbox / "metrics" / "components.csv").open() as stream:
        chosen = {line["fold"]: line for line in csv.DictReader(stream)}
    assert set(chosen) == {"0", "1", "all"}
    for line in chosen.values():
        assert float(line["min_component_um3"]) > 0
        assert float(line["dsc_after"]) > float(line["dsc_before"])
    # the size of fold 0 was chosen on fold 1's two volumes, of which the empty one has nothing to lose
    assert float(chosen["0"]["dsc_before"]) == pytest.approx((expected["b"] + 1) / 2)


def test_an_animal_counts_once(sandbox: Path, trained: tuple[Path, dict[str, float]]) -> None:
    """The groups of the manifest reach the mean, the table and the words."""
    source, expected = trained
    manifest = sandbox / "data" / "processed" / "manifest.parquet"
    table = pyarrow.parquet.read_table(manifest)
    animals = {"a": "mouse 1", "c": "mouse 1", "b": "mouse 1", "empty": "mouse 2"}
    groups = pyarrow.array([animals[name] for name in table["id"].to_pylist()])
    changed = table.set_column(table.column_names.index("group"), "group", groups)
    pyarrow.parquet.write_table(changed, manifest)
    done = run_stage(sandbox, source / "mlruns", fingerprint="evaluation-groups")
    assert done.returncode == 0, done.stderr
    rows = pyarrow.parquet.read_table(sandbox / "metrics" / "per_volume.parquet").to_pylist()
    assert {line["id"]: line["group"] for line in rows} == animals
    dsc = json.loads((sandbox / "metrics" / "metrics.json").read_text())["dice_ce"]["dsc"]
    assert dsc["mean"] == pytest.approx((np.mean([expected[name] for name in "abc"]) + expected["empty"]) / 2)
    assert "dice_ce: 4 volumes of 2 groups" in done.stdout


def test_a_network_that_is_nowhere_ends_the_stage_before_it_begins(
    sandbox: Path, trained: tuple[Path, dict[str, float]]
) -> None:
    """A one-screen error, no output, and no run that would look like an evaluation."""
    source, _ = trained
    card = sandbox / "models" / "dice_ce" / "fold_1.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "weights_sha256": "f" * 64}))
    ended = run_stage(sandbox, source / "mlruns", fingerprint="evaluation-3")
    assert ended.returncode == 7
    assert "has no version of capillary-dice_ce with the weights" in ended.stderr
    assert "registered on another server" in ended.stderr
    assert "dvc repro -f -s train@dice_ce-1" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((sandbox / "metrics").iterdir())
    client = MlflowClient(f"sqlite:///{source}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("capillary")
    assert not client.search_runs([experiment.experiment_id], "tags.`capillary.fingerprint` = 'evaluation-3'")


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"folds": [0, 5]}, 4, "fold 5 does not exist"),
        ({"losses": ["dice_ce", "cbdice"]}, 4, "models/cbdice/fold_0.json"),
        ({"folds": "all"}, 3, "params.yaml [training] `folds`"),
    ],
)
def test_wrong_input_ends_before_anything_is_asked_of_the_server(
    sandbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], code: int, text: str
) -> None:
    """Missing cards, folds and wrong params: exit code and name; no store was touched."""
    params = {**PARAMS, "training": {**PARAMS["training"], **change}}
    (sandbox / "params.yaml").write_text(yaml.safe_dump(params))
    write_order(sandbox, stage="evaluate", artifact_root=str(tmp_path / "untouched" / "artifacts"))
    monkeypatch.setattr(sys, "argv", ["stages.evaluate"])
    ended = run_in_process(main, sandbox, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/untouched/mlflow.db")
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False)
    assert text in ended.stderr
    assert not (tmp_path / "untouched").exists()


def test_a_card_has_exactly_the_agreed_fields() -> None:
    """train writes and evaluate reads these and no others."""
    assert [field.name for field in dataclasses.fields(ModelCard)] == [
        "loss",
        "fold",
        "weights_sha256",
        "patch_voxels",
        "epochs",
        "validation_dsc",
        "fingerprint",
        "precision",
        "recipe",
        "files",
        "domain",
        "seed",
        "setup",
    ]
