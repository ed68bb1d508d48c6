"""What a training is said to need, against what a real one took."""

import os
import subprocess
import sys
from pathlib import Path

from capillary.compute.need import GB, parameters_of, run_shape, training_ram_gb
from capillary.compute.volumes import find_volumes
from stages.common.runtime import Compute
from tests.integration.train.train_sandbox import make_sandbox
from tests.unit.stages.train.tiny import PARAMS

WITHIN = 1.5  # times, either way


def test_the_estimate_agrees_with_a_real_training(tmp_path: Path) -> None:
    """Its peak of resident memory, its checkpoint and the volumes' sizes, from params alone."""
    small = {"filters": [8, 16, 32], "patch_voxels": [8, 64, 64], "max_epochs": 1, "steps_per_epoch": 1}
    sandbox = make_sandbox(tmp_path, **small)
    # its own interpreter: the peak of one that was forked is not that of a training
    argv = [sys.executable, *sandbox.command()[1:]]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(argv, cwd=tmp_path, env=sandbox.environment(), stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (tmp_path / "log").read_text()

    volumes = find_volumes(tmp_path, {})
    assert volumes.shapes == ((6, 24, 24),) * 3
    run = run_shape({"training": {**PARAMS, **small}}, volumes, Compute(device="cpu", workers=1))
    assert run is not None
    peak_gb = used.ru_maxrss * 1024 / GB
    assert 1 / WITHIN <= training_ram_gb(run) / peak_gb <= WITHIN, peak_gb
    checkpoint = (tmp_path / "state" / "checkpoint.pt").stat().st_size
    assert 1 / WITHIN <= parameters_of(run.filters) * 16 / checkpoint <= WITHIN
