"""A stage's frozen plan as a folder that a node can execute. Of secrets it holds only the names.

<repository>/.capillary/jobs/<address>-<fingerprint>/
    job.json        what is run, with which deps, by which executor; names of variables, never their values
    order.json      how this run is to be done (stages/common/runtime.py)
    params.yaml     declared keys only
    carried/        copies of small deps that are removed when the head ends
    gates/1-…/      folders of the same form: checks that run before the stage, on the same node
    attempts/1.json the node that took the job, and when; one file per attempt
    stop            made by the head: the job is to checkpoint and end, not to run again
    requeued        made by a job that returned to the queue
    outs/           the complete outs of a stage that succeeded
    circumstances.json  what the node computed them with, for an audit
    ended.json      exit code, node and times of a job that is over; written last
    log             what the job printed

The folder is on a file system that the head and the nodes share. The head writes the first three. Nodes write the rest,
which the head takes for untrusted.
"""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import yaml
from pydantic import ValidationError

from capillary.executors.sandbox import write_inputs
from capillary.integrity.dotenv_file import read_dotenv
from capillary.places.stamps import Stamp, stamp_of
from capillary.planning.access import StageAccess, names_for
from capillary.planning.plan import Dep, StagePlan
from capillary.settings import ExecutorName, PlaceName, Settings
from stages.common.atomic import atomic_write
from stages.common.errors import DamagedError, DataError, MachineError
from stages.common.params import PARAMS_FILE, Params
from stages.common.runtime import ORDER_FILE, StageOrder, order_json, read_order
from stages.common.tracking.address import VARIABLE

JOBS = Path(".capillary", "jobs")
JOB_FILE = "job.json"
CARRIED = "carried"
GATES = "gates"
LOG_FILE = "log"
# settings of the images, which the node that builds or looks for them must share with the head
IMAGE_VARIABLES = ("CAPILLARY_BASE_IMAGE", "CAPILLARY_TORCH", "CAPILLARY_TORCH_*")


class JobDep(Params):
    """A declared dependency. `host` is None for a URL, `hash` is DVC's, `stamp` is what a node compares."""

    name: str
    host: Path | None
    hash: str
    stamp: Stamp | None


class JobVariable(Params):
    """A variable, by the user's `name` for it. `kept_in` says where a node finds its value: the environment that it
    was started with, or the project's .env.
    """

    name: str
    kept_in: Literal["environment", "file"]


class Job(Params):
    """job.json. `environment_id` is what the packages of the head's plan are known by; a node must have the same.

    `variables` maps names in the stage to the user's; `images` are settings of the images. `addresses` are values that
    hold no secret: the file of an embedded MLflow store.
    """

    version: Literal[1] = 1
    place: PlaceName
    stage: str
    argv: tuple[str, ...]
    root: Path
    repository: Path
    deps: tuple[JobDep, ...]
    outs: tuple[str, ...]
    access: StageAccess
    executor: ExecutorName
    environment_id: tuple[str, ...]
    variables: dict[str, JobVariable]
    images: tuple[JobVariable, ...]
    addresses: dict[str, str]
    needs_network: bool
    servers: tuple[str, ...]
    writable: tuple[Path, ...]
    grace_s: float

    def exported(self) -> list[str]:
        """The user's names of the variables that must be in the environment of the job."""
        every = (*self.variables.values(), *self.images)
        return sorted({variable.name for variable in every if variable.kept_in == "environment"})


@dataclass(frozen=True, kw_only=True)
class Handover:
    """What a job needs to know beyond the plan."""

    place: PlaceName
    executor: ExecutorName
    environment_id: Sequence[str]
    settings: Settings
    reads_env_file: bool = True  # whether a node sees the project's .env


def job_folder(plan: StagePlan) -> Path:
    """The folder of the job of `plan`: the same for the same deps, params and environment."""
    return plan.repository / JOBS / f"{quote(plan.address, safe='@=,+ ')}-{plan.order.fingerprint[:16]}"


def gate_folder(folder: Path, number: int, gate: StagePlan) -> Path:
    """The folder of the gate that the job in `folder` runs as the first, second, …"""
    return folder / GATES / f"{number}-{gate.stage}"


def has_job(plan: StagePlan) -> bool:
    """Whether a job of `plan` was written and its outs are not collected yet; it may be running."""
    return (job_folder(plan) / JOB_FILE).is_file()


def write_job(plan: StagePlan, folder: Path, handover: Handover) -> Job:
    """Write the job of `plan` into `folder`, job.json last; returns what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = dataclasses.replace(plan, deps=tuple(_carried(dep, folder) for dep in plan.deps))
    job = _job_of(plan, handover)
    for name in (PARAMS_FILE, ORDER_FILE):
        (folder / name).unlink(missing_ok=True)
    write_inputs(plan, folder)
    with atomic_write(folder / JOB_FILE) as stream:
        stream.write(job.model_dump_json(indent=2).encode() + b"\n")
    return job


def read_job(folder: Path) -> Job:
    """The job in `folder`; DamagedError when there is none, or none of this version."""
    file = folder / JOB_FILE
    try:
        return Job.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise DamagedError(
            "this folder was not written by this version of capillary",
            file=file,
            value=_first_line(error),
            remedy="remove the folder and repeat the command that started the stage, which writes the job again",
        ) from error


def plan_of(job: Job, folder: Path, settings: Settings, base: dict[str, str]) -> StagePlan:
    """The plan of `job` on this node, whose variables are `settings` and whose own ones are `base`.

    The job's folder takes the place of the repository: sandbox, logs and locks of a node are its own, since not every
    shared file system knows locks across nodes.
    """
    given = {name: _value_of(variable, settings) for name, variable in job.variables.items()}
    return StagePlan(
        stage=job.stage,
        order=read_order(folder / ORDER_FILE),
        argv=job.argv,
        root=job.root,
        repository=folder,
        deps=tuple(Dep(name=dep.name, host=dep.host) for dep in job.deps),
        dep_hashes={dep.name: dep.hash for dep in job.deps},
        outs=job.outs,
        params=_read_params(folder / PARAMS_FILE),
        access=job.access,
        environment={**given, **job.addresses},
        user_environment=base,
        needs_network=job.needs_network,
        writable=job.writable,
        grace_s=job.grace_s,
        servers=job.servers,
    )


def digest_of(order: StageOrder) -> str:
    """What tells the order of one job from that of another, wherever they come from: each cell that ends changes
    dvc.lock, and with it the provenance of the next. What was asked for has its own hash (prediction/spread/traces.py).
    """
    return hashlib.sha256(order_json(dataclasses.replace(order, provenance=None, request=None))).hexdigest()


def refuse_changed(job: Job) -> None:
    """Raise CapillaryError when a dep is no longer what it was when the job was written, as far as that is cheap."""
    for dep in job.deps:
        if dep.host is None or dep.stamp is None:
            continue
        now = stamp_of(dep.host) if os.path.lexists(dep.host) else None
        if now != dep.stamp:
            what = "is missing on this node" if now is None else "is different on this node"
            raise DataError(
                f"{dep.name} {what}",
                file=dep.host,
                remedy="if it changed after the job was submitted, repeat the command; if not, the node does not "
                "share the project's folder: keep the project on a file system that all nodes mount at the same path",
            )


def _job_of(plan: StagePlan, handover: Handover) -> Job:
    settings = handover.settings
    kept = read_dotenv(plan.repository / ".env") if handover.reads_env_file else {}

    def variable(own: str) -> JobVariable:
        in_file = kept.get(own) == settings.variables[own]
        return JobVariable(name=own, kept_in="file" if in_file else "environment")

    names = names_for(plan.access, settings, with_network=plan.needs_network)
    addresses = {name: plan.environment[name] for name in (VARIABLE,) if _is_embedded(plan.environment.get(name))}
    return Job(
        place=handover.place,
        stage=plan.stage,
        argv=plan.argv,
        root=plan.root,
        repository=plan.repository,
        deps=tuple(_job_dep(dep, plan) for dep in plan.deps),
        outs=plan.outs,
        access=plan.access,
        executor=handover.executor,
        environment_id=tuple(handover.environment_id),
        variables={name: variable(own) for name, own in names.items() if name not in addresses},
        images=tuple(variable(own) for own in settings.select(IMAGE_VARIABLES)),
        addresses=addresses,
        needs_network=plan.needs_network,
        servers=plan.servers,
        writable=plan.writable,
        grace_s=plan.grace_s,
    )


def _carried(dep: Dep, folder: Path) -> Dep:
    """`dep` with a copy in `folder` where it is to be carried."""
    if not dep.is_carried or dep.host is None:
        return dep
    copy = folder / CARRIED / dep.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    if dep.host.is_dir():
        shutil.copytree(dep.host, copy, dirs_exist_ok=True)
    else:
        shutil.copyfile(dep.host, copy)
    return Dep(name=dep.name, host=copy)


def _job_dep(dep: Dep, plan: StagePlan) -> JobDep:
    stamp = None if dep.host is None else stamp_of(dep.host)
    # a gate has no hashes: nothing is recorded as made from what it reads
    return JobDep(name=dep.name, host=dep.host, hash=plan.dep_hashes.get(dep.name, ""), stamp=stamp)


def _is_embedded(address: str | None) -> bool:
    return address is not None and address.startswith("sqlite:///")


def _value_of(variable: JobVariable, settings: Settings) -> str:
    value = settings.variables.get(variable.name)
    if value is None:
        place = "the project's .env" if variable.kept_in == "file" else "the environment of the job"
        raise MachineError(
            f"{variable.name} is not in {place} on this node",
            remedy="add it to the project's .env, which every node reads, and repeat the command",
        )
    return value


def _read_params(file: Path) -> dict[str, Any]:
    params: dict[str, Any] = yaml.safe_load(file.read_text()) or {}
    return params


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
