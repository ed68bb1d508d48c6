"""A stage's run as a value: everything an executor needs, decided before anything starts."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol

from capillary.launcher.access import StageAccess, variables_for
from capillary.launcher.naming import is_rehearsal, registered_model
from capillary.settings import BASE_VARIABLES, Settings
from stages.common.dataset.hub import is_pin
from stages.common.errors import CapillaryError, ExitCode
from stages.common.params import PARAMS_FILE
from stages.common.runtime import ORDER_FILE, Compute, Monitoring, StageOrder
from stages.common.tracking.address import EMBEDDED, VARIABLE, StoreKind, read_address

CODE_FOLDER = "stages"
WEIGHTS = "weights"
OUTBOX, RECEIPTS = Path(".capillary", "outbox"), Path(".capillary", "receipts")  # in the repository
DOWNLOADS = Path(".capillary", "downloads")  # the same
INPUTS = (PARAMS_FILE.name, ORDER_FILE.name)  # what the launcher writes for a stage


@dataclass(frozen=True, kw_only=True)
class Dep:
    """A declared dependency: as dvc.yaml names it, and where it lies. `host` is None for a URL.

    `is_carried`: a small file that lives as long as this launcher; one that goes to another machine takes a copy along.
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


def plan_stage(
    request: StageRequest,
    entry: Declared,
    access: StageAccess,
    settings: Settings,
    environment_id: Sequence[str],
    compute: Compute,
) -> StagePlan:
    """The plan of `request`, for an executor whose environment is known by `environment_id`.

    `compute` is not part of the fingerprint: a result does not depend on it, and a stopped training resumes under
    another one. Raises CapillaryError for a missing dep or param.
    """
    root, repository = request.root, request.repository
    _refuse_taken_name([*entry.deps, *entry.outs])
    params = entry.params()
    deps = (*(_locate(name, root) for name in entry.deps), *_kept_weights(access, root))
    outs = tuple(_inside(name) for name in entry.outs)
    dep_hashes = entry.dep_hashes()
    fingerprint = fingerprint_of(dep_hashes, params, request.address, environment_id)
    database = _embedded_database(access, settings, repository)
    store = () if database is None else (database.parent,)
    needs_network = _needs_network(access, deps, store)
    order = _order_of(request, settings, fingerprint, entry.cache_dir, database, compute)
    variables = variables_for(access, settings, with_network=needs_network)
    return StagePlan(
        stage=request.stage,
        order=order,
        argv=request.argv,
        root=root,
        repository=repository,
        deps=deps,
        dep_hashes=dep_hashes,
        outs=outs,
        params=params,
        access=access,
        environment=variables if database is None else {**variables, VARIABLE: f"sqlite:///{database}"},
        user_environment=settings.select(BASE_VARIABLES),
        needs_network=needs_network,
        writable=_writable(access, order, store, deps),
        grace_s=settings.grace_s,
        environment_id=tuple(environment_id),
    )


def _order_of(
    request: StageRequest,
    settings: Settings,
    fingerprint: Fingerprint,
    cache_dir: Path,
    database: Path | None,
    compute: Compute,
) -> StageOrder:
    """What the stage is told of itself. `database` is the embedded MLflow store, None for a server or no tracking."""
    repository = request.repository
    return StageOrder(
        stage=request.address,
        fingerprint=fingerprint.whole,
        data_fingerprint=fingerprint.data,
        code_fingerprint=fingerprint.code,
        state_dir=repository / settings.checkpoint_dir / f"{request.address}-{fingerprint.whole[:16]}",
        cache_dir=cache_dir,
        artifact_root=None if database is None else str(database.parent / "artifacts"),
        experiment_name=settings.variables.get("DVC_EXP_NAME"),
        tracking=settings.tracking.value,
        outbox=repository / OUTBOX,
        receipts=repository / RECEIPTS,
        downloads=repository / DOWNLOADS,
        registered_model=registered_model(settings),
        rehearsal=is_rehearsal(settings, request.root),
        compute=compute,
        monitoring=Monitoring(interval_s=settings.monitor_interval_s, memory_abort_gb=settings.memory_abort_gb),
    )


def _writable(access: StageAccess, order: StageOrder, store: tuple[Path, ...], deps: Sequence[Dep]) -> tuple[Path, ...]:
    """The folders beyond its outs that a stage writes: its checkpoints, the store, records of runs, downloads."""
    resume = (order.state_dir,) if access.resume else ()
    downloads = (order.downloads,) if access.network == "source" and _downloads(deps) else ()
    return (*resume, *store, *records_of(access, order), *downloads)


def records_of(access: StageAccess, order: StageOrder) -> tuple[Path, ...]:
    """Where a stage that tracks its runs keeps what waits for a server, and what servers made of it."""
    return (order.outbox, order.receipts) if access.network == "tracking" else ()


def fingerprint_of(
    dep_hashes: Mapping[str, str], params: Mapping[str, Any], address: str, environment_id: Sequence[str]
) -> Fingerprint:
    """Fingerprint from DVC's hashes of the deps, the params and the environment (interpreter or image).

    The requirements of a stage are in its code folder, so the code hash covers the packages it asks for.
    """
    code = {name: value for name, value in dep_hashes.items() if PurePath(name).parts[0] == CODE_FOLDER}
    data = {name: value for name, value in dep_hashes.items() if name not in code}
    return Fingerprint(
        data=_digest(data), code=_digest(code), whole=_digest([address, data, code, params, list(environment_id)])
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _refuse_taken_name(names: Sequence[str]) -> None:
    if any(os.path.normpath(name) == str(ORDER_FILE) for name in names):
        raise CapillaryError(
            f"{ORDER_FILE} is the file that tells a stage how to run, and cannot be a dep or an out",
            file="dvc.yaml",
            remedy="rename your file, or keep it in a folder",
            code=ExitCode.USAGE,
        )


def _locate(name: str, root: Path) -> Dep:
    if "://" in name:
        return Dep(name=name, host=None)
    host = Path(os.path.normpath(root / name))
    if not host.exists():
        raise CapillaryError(
            f"dependency {name} does not exist",
            file=host,
            remedy="create it, correct its path in params.yaml or dvc.yaml, or fetch it with dvc pull",
            code=ExitCode.DATA,
        )
    return Dep(name=name, host=host)


def _kept_weights(access: StageAccess, root: Path) -> Iterator[Dep]:
    """The networks that DVC keeps. They are no dep of any entry: a card names them by their hash, and is one."""
    if access.weights and (root / WEIGHTS).is_dir():
        yield Dep(name=WEIGHTS, host=root / WEIGHTS)


def _inside(out: str) -> str:
    normal = PurePath(os.path.normpath(out))
    if normal.is_absolute() or ".." in normal.parts:
        raise CapillaryError(
            f"out {out} is outside the workspace",
            file="dvc.yaml",
            remedy="make the stage write inside the folder of dvc.yaml",
            code=ExitCode.USAGE,
        )
    return out


def _needs_network(access: StageAccess, deps: Sequence[Dep], embedded_store: Sequence[Path]) -> bool:
    """Whether there is a server to reach: not for a source on this disk, and not for the embedded MLflow store."""
    if access.network == "source":
        return any(dep.host is None for dep in deps) or _downloads(deps)
    return access.network == "tracking" and not embedded_store


def _downloads(deps: Sequence[Dep]) -> bool:
    """Whether a dep is a file of this disk that names a data set elsewhere."""
    return any(is_pin(dep.name) for dep in deps)


def _embedded_database(access: StageAccess, settings: Settings, repository: Path) -> Path | None:
    """The file of the embedded MLflow store, for a stage that tracks its runs in it."""
    if access.network != "tracking":
        return None
    address = read_address(settings.variables.get(VARIABLE, EMBEDDED))
    if address.kind is not StoreKind.EMBEDDED:
        return None
    database = repository / address.database_file
    # one path for one store, however it is reached: MLflow records it, and a container sees the real folder only
    return database.parent.resolve() / database.name
