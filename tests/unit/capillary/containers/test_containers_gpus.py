from capillary.containers.gpus import container_name, take_free
from capillary.launcher.stop import Stop
from stages.preflight.checks.devices import Gpu

GPUS = tuple(
    Gpu(index=index, uuid=f"GPU-{index}", name="card", memory_bytes=16 << 30, free_bytes=None, driver="580.65.06")
    for index in range(2)
)


def test_a_gpu_goes_to_one_stage_at_a_time() -> None:
    """The daemon takes a container's name once: who comes second gets the next GPU."""
    taken = {container_name(GPUS[0])}

    def create(gpu: Gpu) -> str | None:
        name = container_name(gpu)
        return None if name in taken else name

    assert take_free(GPUS, create, "train@dice_ce-1", Stop()) == container_name(GPUS[1])
