import pytest

from capillary.containers.gpus import Gpu, allowed, container_name, parse_list, take_free
from capillary.launcher.stop import Stop
from stages.common.errors import CapillaryError, ExitCode

LISTED = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-5c89852c-d268-4e8b-8a4e-1d4e8b0a3c1f)
  MIG 1g.10gb     Device  0: (UUID: MIG-6e3b8a0c-9b0e-5d3b-8a4e-1d4e8b0a3c1f)
GPU 1: NVIDIA GeForce RTX 2070 SUPER (UUID: GPU-0f3b8a0c-9b0e-4d3b-8a4e-1d4e8b0a3c1f)
"""
GPUS = parse_list(LISTED)


def test_gpus_are_read_as_nvidia_smi_lists_them() -> None:
    """Index, name and the UUID by which containers are given one."""
    assert [(gpu.index, gpu.name) for gpu in GPUS] == [
        (0, "NVIDIA A100-SXM4-80GB"),
        (1, "NVIDIA GeForce RTX 2070 SUPER"),
    ]
    assert GPUS[1].uuid == "GPU-0f3b8a0c-9b0e-4d3b-8a4e-1d4e8b0a3c1f"
    assert parse_list("No devices were found\n") == ()


@pytest.mark.parametrize(("wanted", "indices"), [("", [0, 1]), ("1", [1]), (" 1, 0", [1, 0]), ("1,1", [1])])
def test_the_user_says_which_gpus_may_be_used(wanted: str, indices: list[int]) -> None:
    """CAPILLARY_GPUS; all of them when it is unset."""
    assert [gpu.index for gpu in allowed(GPUS, wanted)] == indices
    assert allowed(GPUS, GPUS[1].uuid) == GPUS[1:]


def test_a_gpu_that_is_not_there_is_refused_by_name() -> None:
    """With those that are."""
    with pytest.raises(CapillaryError, match="no GPU 7") as caught:
        allowed(GPUS, "0,7")
    assert "1 (NVIDIA GeForce RTX 2070 SUPER)" in caught.value.remedy
    assert caught.value.code == ExitCode.USAGE


def test_a_gpu_goes_to_one_stage_at_a_time() -> None:
    """The daemon takes a container's name once: who comes second gets the next GPU."""
    taken = {container_name(GPUS[0])}

    def create(gpu: Gpu) -> str | None:
        name = container_name(gpu)
        return None if name in taken else name

    assert take_free(GPUS, create, "train@dice_ce-1", Stop()) == container_name(GPUS[1])
