"""A stage's run as a value: everything an executor needs, decided before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from capillary.planning.access import StageAccess
from stages.common.params import PARAMS_FILE
from stages.common.runtime import ORDER_FILE, StageOrder

CODE_FOLDER = "stages"
WEIGHTS = "weights"
OUTBOX, RECEIPTS = Path(".capillary", "outbox"), Path(".capillary", "receipts")  # in the repository
DOWNLOADS = Path(".capillary", "downloads")  # the same
INPUTS = (PARAMS_FILE.name, ORDER_FILE.name)  # what the launcher writes for a stage


@dataclass(frozen=True, kw_only=True)
class Dep:
    """A declared dependency: as dvc.yaml names it, and where it lies. `host` is None for a URL.

    `is_carried`: a small file or folder that lives as long as this launcher; a job that goes to another machine takes a
    copy along.
    """

    name: str
    host: Path | None
    is_carried: bool = False


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Hashes of what decides a stage's result."""

    data: str
    code: str
    whole: str


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One run of one stage.

    `root` is the workspace, `repository` the folder that keeps runs and resume state (the same, unless DVC runs a
    temporary experiment). Relative paths in `deps` and `outs` mean the same inside the stage as they do in `root`.
    `order` is what the stage reads from order.json. `environment` holds addresses and secrets: what configs/stages.yaml
    lets the stage have; `user_environment` is what any program on this machine needs. `servers` are URLs that it talks
    to besides those that variables name.
    """

    stage: str
    order: StageOrder
    argv: tuple[str, ...]
    root: Path
    repository: Path
    deps: tuple[Dep, ...]
    dep_hashes: Mapping[str, str]
    outs: tuple[str, ...]
    params: Mapping[str, Any]
    access: StageAccess
    environment: Mapping[str, str]
    user_environment: Mapping[str, str]
    needs_network: bool
    writable: tuple[Path, ...]
    grace_s: float
    servers: tuple[str, ...] = ()
    environment_id: tuple[str, ...] = field(default=(), compare=False)  # what the executor's packages are known by

    @property
    def address(self) -> str:
        """`train@dice_ce-0`: the stage's entry and its item."""
        return self.order.stage

    @property
    def state_dir(self) -> Path:
        """What outlives a killed run, so that the next one resumes."""
        return self.order.state_dir

    @property
    def cache_dir(self) -> Path:
        """DVC's cache, to which deps are links under cache.type symlink."""
        assert self.order.cache_dir is not None  # plan_stage has set it
        return self.order.cache_dir

    @property
    def gated(self) -> str | None:
        """For a gate: the address of the entry in which it runs."""
        return None if self.order.gate is None else self.order.gate.gated

    @property
    def thread_variables(self) -> dict[str, str]:
        """What the stage's libraries read: how many threads, and how long one that waits for the others holds its core.

        By default it spins for milliseconds. Where other programs want the cores too, a training then takes longer by
        half and a prediction by several times; so short a spin costs nothing if nobody else does.
        """
        return {"OMP_NUM_THREADS": str(self.order.threads), "GOMP_SPINCOUNT": "2000"}


@dataclass(frozen=True, kw_only=True)
class StageRequest:
    """What DVC asks for. `root` is the workspace, `repository` the one that it belongs to: the same folder, unless
    DVC runs a temporary or queued experiment. `gated` is set for a gate: the address of the entry in which it runs.
    """

    stage: str
    address: str
    argv: tuple[str, ...]
    root: Path
    repository: Path
    gated: str | None = None

    @property
    def entry(self) -> str:
        """The address of the entry in dvc.yaml."""
        return self.gated or self.address


class Declared(Protocol):
    """What a stage may touch: an entry of dvc.yaml (graph.py), or what a gate has (gate.py)."""

    @property
    def deps(self) -> list[str]:
        """Paths relative to the workspace, absolute paths, URLs."""

    @property
    def outs(self) -> list[str]:
        """Relative to the workspace."""

    @property
    def cache_dir(self) -> Path:
        """DVC's local cache."""

    def params(self) -> dict[str, Any]:
        """Nested as in params.yaml."""

    def dep_hashes(self) -> dict[str, str]:
        """Of every dep as it is now."""
