"""How the plan of a stage's run is made: from its entry in dvc.yaml, its access, and the settings."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from capillary.planning.access import StageAccess, variables_for
from capillary.planning.naming import is_rehearsal, registered_model
from capillary.planning.plan import (
    CODE_FOLDER,
    DOWNLOADS,
    OUTBOX,
    RECEIPTS,
    WEIGHTS,
    Declared,
    Dep,
    Fingerprint,
    StagePlan,
    StageRequest,
)
from capillary.settings import BASE_VARIABLES, Settings
from stages.common.dataset.hub import is_pin
from stages.common.errors import DataError, UsageError
from stages.common.runtime import ORDER_FILE, Compute, Messages, Monitoring, StageOrder
from stages.common.tracking.address import EMBEDDED, VARIABLE, StoreKind, read_address


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
    """What the stage needs to know. `database` is the embedded MLflow store, None for a server or no tracking."""
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
        messages=Messages(level=settings.log_level, form=settings.log_format),
        monitoring=Monitoring(interval_s=settings.monitor_interval_s, memory_abort_gb=settings.memory_abort_gb),
    )


def _writable(access: StageAccess, order: StageOrder, store: tuple[Path, ...], deps: Sequence[Dep]) -> tuple[Path, ...]:
    """The folders beyond its outs that a stage writes: its checkpoints, the store, records of runs, downloads."""
    resume = (order.state_dir,) if access.resume else ()
    records = (order.outbox, order.receipts) if access.network == "tracking" else ()
    downloads = (order.downloads,) if access.network == "source" and _downloads(deps) else ()
    return (*resume, *store, *records, *downloads)


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
        raise UsageError(
            f"{ORDER_FILE} is the file that tells a stage how to run, and cannot be a dep or an out",
            file="dvc.yaml",
            remedy="rename your file, or keep it in a folder",
        )


def _locate(name: str, root: Path) -> Dep:
    if "://" in name:
        return Dep(name=name, host=None)
    host = Path(os.path.normpath(root / name))
    if not host.exists():
        raise DataError(
            f"dependency {name} does not exist",
            file=host,
            remedy="create it, correct its path in params.yaml or dvc.yaml, or fetch it with dvc pull",
        )
    return Dep(name=name, host=host)


def _kept_weights(access: StageAccess, root: Path) -> Iterator[Dep]:
    """The networks that DVC keeps. No entry of dvc.yaml has them as a dep: it has the card, which has their hash."""
    if access.weights and (root / WEIGHTS).is_dir():
        yield Dep(name=WEIGHTS, host=root / WEIGHTS)


def _inside(out: str) -> str:
    normal = PurePath(os.path.normpath(out))
    if normal.is_absolute() or ".." in normal.parts:
        raise UsageError(
            f"out {out} is outside the workspace",
            file="dvc.yaml",
            remedy="make the stage write inside the folder of dvc.yaml",
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
