"""What a loader worker holds does not grow with the data set."""

from pathlib import Path

import psutil
import pytest

from stages.common.imaging.volumes import Volume
from stages.train.sampling.loading import PatchDataset, batches
from tests.unit.stages.train.tiny import tiny_params, write_volumes

SMALL, LARGE = ((10, 128, 128),) * 2, ((50, 384, 384),) * 2  # image and label: 1.6 MB and 74 MB


def _most_of_a_worker(volumes: list[Volume]) -> int:
    """Bytes: the largest resident set of two workers after many patches from everywhere, less what they began with."""
    params = tiny_params(steps_per_epoch=100, max_epochs=1)
    dataset = PatchDataset(volumes, params, needs_skeleton=False)
    before = {child.pid for child in psutil.Process().children()}
    loaded = batches(dataset, params, 0, workers=2)
    workers = [child for child in psutil.Process().children() if child.pid not in before]
    assert len(workers) == 2
    most = 0
    for number, _ in enumerate(loaded):
        if number % 10 == 0 and all(worker.is_running() for worker in workers):
            most = max(most, *(worker.memory_full_info().pss for worker in workers))
    return most


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="proportional set sizes are Linux's")
def test_forty_times_the_data_set_takes_no_more_memory_in_a_worker(tmp_path: Path) -> None:
    """Volumes are mapped for each patch: no worker holds a copy of the set, nor the pages of it that it has seen."""
    small = _most_of_a_worker(write_volumes(tmp_path / "small", SMALL))
    large = _most_of_a_worker(write_volumes(tmp_path / "large", LARGE))
    assert large < small + 25e6, f"{small / 1e6:.0f} MB with 2 MB of data, {large / 1e6:.0f} MB with 74 MB"
