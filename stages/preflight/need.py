"""What a run needs of a machine, in GB (10⁹ bytes): estimated by the launcher, compared here with what is there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

VARIABLE = "CAPILLARY_NEED"


@dataclass(frozen=True, kw_only=True)
class Need:
    """Least amounts, 0 where nothing is known. `why` says in a few words what they follow from.

    `ram_gb` and `shared_memory_gb` are for everything that runs at a time, `gpu_gb` for one GPU, the others are what a
    run adds to a disk.
    """

    ram_gb: float = 0.0
    shared_memory_gb: float = 0.0
    gpu_gb: float = 0.0
    workspace_gb: float = 0.0
    cache_gb: float = 0.0
    runs_gb: float = 0.0
    docker_gb: float = 0.0
    why: str = ""

    def least(self, floor_gb: float, name: str) -> tuple[float, str]:
        """(the larger of `floor_gb` and the need called `name`, where it is from) for a check."""
        need_gb: float = getattr(self, name)
        return (need_gb, self.why) if need_gb > floor_gb else (floor_gb, "")

    def as_variable(self) -> dict[str, str]:
        """For a gate's environment."""
        return {VARIABLE: json.dumps(asdict(self), ensure_ascii=False)}


NOTHING_KNOWN = Need()


def read_need(variables: Mapping[str, str]) -> Need:
    """What the launcher told; nothing for a gate that was started by hand."""
    return Need(**json.loads(variables[VARIABLE])) if VARIABLE in variables else NOTHING_KNOWN
