"""Where trainings are jobs of a cluster, the head is not asked for their GPU, memory or swap."""

from types import SimpleNamespace
from typing import cast

import pytest

from capillary.places.choose import jobs_of
from capillary.preflight.need import _stages
from capillary.preflight.run import Host, _nodes
from capillary.settings import read_settings
from stages.common.preflight.check import Status
from tests.support.parts import REPOSITORY


@pytest.mark.parametrize(("required", "status"), [(False, Status.PASS), (True, Status.FAIL)])
def test_a_gpu_that_must_be_there_is_one_that_jobs_ask_for(required: bool, status: Status) -> None:
    """Each job looks at its own node; the head knows only what its file asks for."""
    jobs = jobs_of(REPOSITORY, read_settings(REPOSITORY, {"CAPILLARY_PLACE": "slurm"}), "train")
    assert jobs is not None
    check = _nodes(cast(Host, SimpleNamespace(require_gpu=required)), jobs)
    assert check.status is status
    assert "Slurm jobs in the default partition" in check.value
    assert ("set gpus" in check.remedy) == required


@pytest.mark.parametrize(
    ("place", "stages"),
    [
        ("local", ["ingest", "preprocess", "train", "evaluate", "preflight"]),
        ("slurm", ["ingest"]),
    ],
)
def test_images_are_wanted_for_the_stages_of_this_machine(place: str, stages: list[str]) -> None:
    """The others run in jobs, on nodes; a gate runs in the job of its stage."""
    assert _stages(REPOSITORY, read_settings(REPOSITORY, {"CAPILLARY_PLACE": place})) == stages
