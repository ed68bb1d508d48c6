"""A recorded result computed again in its own folder, from what the record names and nothing else.

.capillary/audit/<random>/
    workspace/      the deps: links to the workspace where it holds what the record names, else copies from DVC's cache
    repository/     what the run would leave in a project: its state, its sandbox, an embedded MLflow store
"""

import contextlib
import dataclasses
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from capillary.cache.project import Project
from capillary.cache.recorded import Recorded
from capillary.compute.circumstances import Circumstances, circumstances_here
from capillary.compute.computing import stage_compute
from capillary.dvc.objects import restore
from capillary.executors.choose import Executor
from capillary.executors.process import execute as process
from capillary.planning.access import StageAccess, read_access, stage_of
from capillary.planning.make_plan import plan_stage
from capillary.planning.plan import Dep, StagePlan, StageRequest
from capillary.settings import Settings
from stages.common.errors import DataError
from stages.common.runtime import Compute
from stages.common.tracking.address import EMBEDDED, VARIABLE, StoreKind, read_address

ROOM = Path(".capillary", "audit")
_TRACKING = "MLFLOW_*"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`record` in place of an entry of dvc.yaml. Satisfies planning.plan.Declared."""

    record: Recorded
    cache_dir: Path

    @property
    def deps(self) -> list[str]:
        """Those of the record."""
        return list(self.record.deps)

    @property
    def outs(self) -> list[str]:
        """Those of the record."""
        return list(self.record.outs)

    def params(self) -> dict[str, Any]:
        """Those of the record, nested as in params.yaml."""
        nested: dict[str, Any] = {}
        for key, value in self.record.params.items():
            *sections, last = key.split(".")
            place = nested
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value
        return nested

    def dep_hashes(self) -> dict[str, str]:
        """Those of the record, which the laid workspace has."""
        return dict(self.record.deps)


@dataclass(frozen=True, kw_only=True)
class Recomputation:
    """A result to compute again, and the circumstances under which that happens."""

    plan: StagePlan
    circumstances: Circumstances


@contextlib.contextmanager
def audit_folder(root: Path) -> Iterator[Path]:
    """A folder for one recomputation, removed at its end."""
    room = root / ROOM
    room.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=room))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def command_of(record: Recorded, stage: str) -> tuple[str, ...] | None:
    """The arguments of `stage` in the record's cmd, gates left out; None when it is not one of capillary's."""
    start = ["capillary", "stage", stage]
    words = (shlex.split(line, comments=True) for line in record.cmd)
    return next((tuple(each[3:]) for each in words if each[:3] == start), None)


def plan_again(
    record: Recorded, project: Project, folder: Path, settings: Settings, executor: Executor
) -> Recomputation:
    """The run of `record` in `folder`, whose workspace is laid. It registers nothing: its MLflow store is its own.

    Raises DataError when a dep is neither in the workspace nor in the cache.
    """
    stage = stage_of(project.root, record.address)
    argv = command_of(record, stage)
    if argv is None:
        raise DataError(
            f"{record.address} does not run `capillary stage {stage}`", remedy="audit another stage", value=record.cmd
        )
    workspace = folder / "workspace"
    for name, digest in sorted(record.deps.items()):  # a folder before what is in it
        _lay(name, digest, project, workspace)
    access = read_access(project.root, stage)
    if reads_registry(access):
        _copy_store(project.root, folder / "repository")
    identity, compute = _environment(project.root, stage, access, settings, executor)
    request = StageRequest(
        stage=stage, address=record.address, argv=argv, root=workspace, repository=folder / "repository"
    )
    claim = Claim(record=record, cache_dir=project.cache)
    plan = plan_stage(request, claim, access, _private(settings, access), identity, compute)
    real = tuple(Dep(name=dep.name, host=dep.host and dep.host.resolve()) for dep in plan.deps)
    now = circumstances_here(identity, compute, in_container=executor is not process)
    return Recomputation(plan=dataclasses.replace(plan, deps=real), circumstances=now)


def circumstances_now(root: Path, stage: str, settings: Settings, executor: Executor) -> Circumstances:
    """Under which circumstances this machine computes `stage`."""
    identity, compute = _environment(root, stage, read_access(root, stage), settings, executor)
    return circumstances_here(identity, compute, in_container=executor is not process)


def _environment(
    root: Path, stage: str, access: StageAccess, settings: Settings, executor: Executor
) -> tuple[list[str], Compute]:
    find_gpus = None if access.gpu == "none" else lambda: executor.gpus(settings)
    return executor.environment_id(root, stage, access), stage_compute(root, settings, find_gpus)


def reads_registry(access: StageAccess) -> bool:
    """Whether a stage takes models from MLflow, and does not only leave one there, as a training does."""
    return access.network == "tracking" and not access.resume


def has_server(settings: Settings) -> bool:
    """Whether models are kept by an MLflow server, not by the store in the project."""
    return read_address(settings.variables.get(VARIABLE, EMBEDDED)).kind is not StoreKind.EMBEDDED


def _copy_store(root: Path, repository: Path) -> None:
    store = (root / read_address(EMBEDDED).database_file).parent
    if store.is_dir():
        shutil.copytree(store, repository / store.name, symlinks=True)


def _lay(name: str, digest: str, project: Project, workspace: Path) -> None:
    place = workspace / name
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise DataError("a dep is outside the project", value=name, remedy="audit another stage (--stage)")
    if place.exists():  # a part of a folder that is laid already
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if project.hash_of(name) == digest:
        place.symlink_to(project.root / name)
    else:
        restore(project.cache, digest, place)


def _private(settings: Settings, access: StageAccess) -> Settings:
    """`settings` without a tracking server and without what the stage could reach one by."""
    handed: Mapping[str, str] = settings.select([_TRACKING, *access.env_from, *access.env_from.values()])
    kept = {name: value for name, value in settings.variables.items() if name not in handed}
    return settings.model_copy(update={"variables": kept, "checkpoint_dir": ".capillary/state", "resume": False})
