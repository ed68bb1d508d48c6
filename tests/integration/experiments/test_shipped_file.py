"""The experiment file for MiniVess as it is shipped, with its seventy volumes, on a machine that has a GPU."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from capillary.experiments.run import Options, run_experiment
from capillary.preflight import run as preflight
from stages.common.preflight.check import passed
from tests.support.clone import Clone

FILE = "configs/experiments/dynunet_losses.yaml"
LOSSES = ("dice_ce", "cbdice", "dice_ce_cldice", "warp")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose params.yaml names a folder with stacks under the names of MiniVess."""
    folder = tmp_path_factory.mktemp("minivess")
    made = Clone(folder / "project")
    write_volumes(folder / "data")
    file = made.root / "params.yaml"
    params = yaml.safe_load(file.read_text())
    params["ingest"]["source"] = str(folder / "data")
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    return made


def write_volumes(folder: Path) -> None:
    """mv01 to mv70, a few voxels each."""
    stack = nibabel.Nifti1Image(np.arange(64, dtype=np.uint8).reshape(4, 4, 4), np.diag([0.7, 0.7, 5, 1]))
    for name, suffix in (("raw", ""), ("seg", "_y")):
        (folder / name).mkdir(parents=True)
        for number in range(1, 71):
            nibabel.save(stack, folder / name / f"mv{number:02d}{suffix}.nii.gz")


def test_the_file_runs_as_it_is_written(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its source, splits and params are right, and the plan has a cell for each loss and fold."""
    monkeypatch.chdir(clone.root)
    # the machine of the design: a GPU, and memory and disks enough
    monkeypatch.setattr(preflight, "_gpu_checks", lambda _host: [passed("gpu", "one")])
    monkeypatch.setattr(preflight, "_memory", lambda *_: [passed("ram", "256 GB")])
    monkeypatch.setattr(preflight, "_disks", lambda *_: [passed("disk of workspace", "2 TB")])
    assert run_experiment(clone.root / FILE, clone.root, Options(dry_run=True)) == 0
    shown = capsys.readouterr().out
    assert "pass folds: 3 folds" in shown
    assert not [line for line in shown.splitlines() if line.startswith("fail ")]
    cells = {f"train@{loss}-{fold}" for loss in LOSSES for fold in range(3)}
    assert {word for word in shown.split() if word.startswith("train@")} >= cells
