"""Bad input to the whole program: one screen and an exit code, and data/raw as it was."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stages.common.errors import ExitCode
from tests.support.parts import REPOSITORY
from tests.support.stacks.preprocess_sandbox import Sandbox, digest


@pytest.fixture
def phantoms(tmp_path: Path) -> Sandbox:
    """The eight synthetic stacks of six animals."""
    box = Sandbox(tmp_path / "sandbox")
    box.add_source(REPOSITORY / "samples" / "phantom")
    return box


def _cut(box: Sandbox) -> None:
    file = box.root / "data" / "raw" / "phantom_03" / "image.tif"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flatten(box: Sandbox) -> None:
    file = box.root / "data" / "raw" / "phantom_03" / "image.tif"
    tifffile.imwrite(file, np.full_like(tifffile.imread(file), 7), photometric="minisblack")


def _exchange(box: Sandbox) -> None:
    file = box.root / "data" / "raw" / "phantom_03" / "label.tif"
    shutil.copyfile(box.root / "data" / "raw" / "phantom_08" / "label.tif", file)


def _clear(box: Sandbox) -> None:
    box.write_table([])


def _overlap(box: Sandbox) -> None:
    box.split([{"train": ["phantom_01"], "val": ["phantom_01"]}] * 3)


@pytest.mark.parametrize(
    ("break_it", "code", "says"),
    [
        (_cut, ExitCode.DATA, ["phantom_03", "data/raw/phantom_03/image.tif", "remedy"]),
        (_flatten, ExitCode.DATA, ["volume phantom_03", "no contrast", "data/raw/phantom_03/image.tif"]),
        (_exchange, ExitCode.DATA, ["volume phantom_03", "label.tif", "instead of"]),
        (_clear, ExitCode.DATA, ["no valid stack", "validation.json"]),
        (
            _overlap,
            ExitCode.DATA,
            ["fold 0: volumes are in both train and val", "phantom_01", "configs/splits/mine.json"],
        ),
        (lambda box: box.set(num_folds=7), ExitCode.PARAMS, ["7 folds", "6 groups (of 8 volumes)"]),
        (lambda box: box.set(num_folds=1), ExitCode.PARAMS, ["a single fold"]),
        (lambda box: box.set(normalization="zscore"), ExitCode.PARAMS, ["did you mean `normalisation`?"]),
        (lambda box: box.set(splits_file="configs/splits/none.json"), ExitCode.DATA, ["configs/splits/none.json"]),
        (lambda box: box.set(resample_to_um=[0.01, 0.01, 0.01]), ExitCode.PARAMS, ["voxels", "GB", "phantom_01"]),
        (lambda box: box.set(resample_to_um=[2000, 500, 500]), ExitCode.PARAMS, ["leaves no voxel"]),
    ],
)
def test_bad_input_is_one_screen_and_an_exit_code(phantoms: Sandbox, break_it: Any, code: int, says: list[str]) -> None:
    """What failed, with which value, what to do; no traceback; data/raw as it was."""
    break_it(phantoms)
    raw = {file: digest(file) for file in (phantoms.root / "data" / "raw").rglob("*.*")}
    found, output = phantoms.run_in_process()
    assert found == code, output
    assert "Traceback" not in output
    assert len(output.splitlines()) < 24
    for text in ("error:", "remedy:", *says):
        assert text in output
    assert {file: digest(file) for file in (phantoms.root / "data" / "raw").rglob("*.*")} == raw
