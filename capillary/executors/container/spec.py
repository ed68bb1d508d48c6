"""A stage's container as a value: pure functions from the plan to what the daemon is asked for."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from capillary.compute.memory import GIB, memory_limit
from capillary.executors.container.host_paths import HostPaths
from capillary.executors.container.scratch import Scratch, work_folder
from capillary.lifetimes.carried import NAME
from capillary.loopback import leads_here
from capillary.planning.access import StageAccess
from capillary.planning.plan import INPUTS, StagePlan
from capillary.proxies import loopback_proxies

TMPFS_BYTES = 256 << 20
INSIDE = f"/capillary/{NAME}"
TMP = "/capillary/tmp"
# of the user's own variables: how to speak to them. PATH, HOME and the like mean other places in a container
USER_VARIABLES = {"LANG", "TZ", "TERM", "COLUMNS", "NO_COLOR"}
# a laboratory's own authority; a launcher in a container has those of its image, as the stage has
CERTIFICATE_VARIABLES = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
# numbers of the machine's GPUs; in the container their numbers start at 0
NOT_HANDED_ON = {"CUDA_VISIBLE_DEVICES"}
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_.-]")  # of containers; an item of a matrix may hold any sign


@dataclass(frozen=True, kw_only=True)
class ContainerHost:
    """Where containers of this launcher run. `own_id` is the launcher's own container, None on the machine itself.

    `user` is the uid:gid of the stage: the launcher's, or 0:0 where a rootless daemon maps root to the caller.
    `memory_bytes` is what the daemon's machine has, None if it does not tell. `side_by_side` is how many stages an
    experiment runs there at once.
    """

    paths: HostPaths
    own_id: str | None
    user: str
    memory_bytes: int | None = None
    side_by_side: int = 1


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A place of the daemon's machine in the container."""

    source: str
    target: str
    writable: bool = False

    def as_mount(self) -> dict[str, Any]:
        """As the daemon's API takes it. Type bind: a missing source is an error, not a new folder owned by root."""
        return {"Type": "bind", "Source": self.source, "Target": self.target, "ReadOnly": not self.writable}


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """Everything that `docker create` needs, and `secrets`, which go to the stage on its standard input instead."""

    name: str
    body: Mapping[str, Any]
    secrets: Mapping[str, str]


def container_spec(
    plan: StagePlan, scratch: Scratch, place: ContainerHost, image: str, gpus: Sequence[str]
) -> ContainerSpec:
    """The container of `plan`; `gpus` are ids of the daemon's GPUs. CapillaryError for a path that it cannot see."""
    work = work_folder(plan)
    handed = handed_on(plan, place)
    binds = (*binds_of(plan, scratch, place.paths), *files_of(handed, place.paths))
    return ContainerSpec(
        name=f"capillary-{_NOT_IN_NAMES.sub('-', plan.address)}-{scratch.base.name[-8:]}",
        secrets=handed,
        body={
            "Image": image,
            "Entrypoint": ["python", "-P", INSIDE],
            "Cmd": [f"stages.{plan.stage}", *plan.argv],
            "WorkingDir": str(work),
            "User": place.user,
            "Env": [f"{name}={value}" for name, value in environment_of(plan).items()],
            "Labels": labels_of(plan, scratch, place.paths),
            # the launcher's connection: when it breaks, standard input ends (inside.py)
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "HostConfig": {
                "AutoRemove": True,
                "Init": True,
                "Mounts": [bind.as_mount() for bind in binds],
                "NetworkMode": network_of(plan, place.own_id),
                "ReadonlyRootfs": True,
                "Tmpfs": {"/tmp": f"rw,nosuid,nodev,size={TMPFS_BYTES}"},  # noqa: S108 - in the container
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                **limits_of(plan.access, place),
                **({"DeviceRequests": [_gpu_request(gpus)]} if gpus else {}),
            },
        },
    )


def labels_of(plan: StagePlan, scratch: Scratch, paths: HostPaths) -> dict[str, str]:
    """Whose container it is. `capillary.caller` is the folder whose lock the launcher holds while it lives."""
    return {
        "capillary.project": paths.translate(plan.repository),
        "capillary.workspace": paths.translate(plan.root),
        "capillary.stage": plan.stage,
        "capillary.address": plan.address,
        "capillary.state": plan.state_dir.name,
        "capillary.caller": scratch.base.name,
    }


def limits_of(access: StageAccess, place: ContainerHost) -> dict[str, Any]:
    """Limits of configs/stages.yaml; swap is no way around the one on memory."""
    limits: dict[str, Any] = {"PidsLimit": access.pids, "ShmSize": int(access.shm_gb * GIB)}
    memory = memory_limit(access.memory_gb, place.memory_bytes, place.side_by_side)
    return limits if memory is None else {**limits, "Memory": memory, "MemorySwap": memory}


def network_of(plan: StagePlan, own_id: str | None) -> str:
    """As little network as the plan needs.

    A launcher in a container lends its own: the stage reaches exactly the servers that the launcher's names mean. On a
    machine a server at a loopback address can be reached through the machine's own network only.
    """
    if not plan.needs_network:
        return "none"
    if own_id is not None:
        return f"container:{own_id}"
    servers = map(leads_here, (*plan.environment.values(), *plan.servers))
    return "host" if any(servers) or loopback_proxies(plan.environment) else "bridge"


def environment_of(plan: StagePlan) -> dict[str, str]:
    """Variables that anyone may see in `docker inspect`: none of them comes from the user's settings."""
    user = plan.user_environment
    kept = {name: value for name, value in user.items() if name in USER_VARIABLES or name.startswith("LC_")}
    return {
        **kept,
        "PYTHONPATH": str(work_folder(plan)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/tmp",  # noqa: S108 - in the container
        "USER": "capillary",
        "LOGNAME": "capillary",
        "TMPDIR": TMP,
        "XDG_CACHE_HOME": TMP,
        "MPLCONFIGDIR": TMP,
        **plan.thread_variables,
    }


def handed_on(plan: StagePlan, place: ContainerHost) -> dict[str, str]:
    """Variables from the user's environment or .env that the stage gets: any of them may hold a secret."""
    handed = {name: value for name, value in plan.environment.items() if name not in NOT_HANDED_ON}
    if place.own_id is None and plan.needs_network:
        user = plan.user_environment.items()
        handed |= {name: value for name, value in user if name in CERTIFICATE_VARIABLES and Path(value).is_file()}
    return handed


def files_of(handed: Mapping[str, str], paths: HostPaths) -> Iterator[Bind]:
    """Files that variables name (credentials, certificates), read-only at their own paths; two may name the same."""
    for value in dict.fromkeys(handed.values()):
        if Path(value).is_absolute() and Path(value).is_file():
            yield Bind(source=paths.translate(Path(value)), target=value)


def binds_of(plan: StagePlan, scratch: Scratch, paths: HostPaths) -> Iterator[Bind]:
    """Deps read-only, parents of outs and the plan's own folders writable, and what the run itself needs."""
    work = work_folder(plan)
    for parent in scratch.parents:
        yield Bind(source=paths.translate(scratch.work / parent), target=_inside(work, parent), writable=True)
    for own in INPUTS:
        yield Bind(source=paths.translate(scratch.base / own), target=_inside(work, own))
    yield Bind(source=paths.translate(scratch.base / NAME), target=INSIDE)
    yield Bind(source=paths.translate(scratch.tmp), target=TMP, writable=True)
    for folder in plan.writable:
        yield Bind(source=paths.translate(folder), target=str(folder), writable=True)
    places = {PurePath(dep.name): dep.host for dep in plan.deps if dep.host is not None}
    for name, host in places.items():
        yield from _with_inner(host, _inside(work, name), paths)
    if any(_leads_into(host, plan.cache_dir) for host in places.values()):
        yield from _with_inner(plan.cache_dir, str(plan.cache_dir), paths)


def _inside(work: PurePath, name: str | PurePath) -> str:
    return os.path.normpath(work / name)  # an absolute name stands for itself


def _with_inner(host: Path, target: str, paths: HostPaths) -> Iterator[Bind]:
    """A read-only bind of `host`, and of what is mounted below it in the launcher's own container."""
    yield Bind(source=paths.translate(host), target=target)
    for mount in paths.below(host):
        inner = PurePath(mount.destination).relative_to(host.resolve())
        yield Bind(source=mount.source, target=str(PurePath(target) / inner))


def _leads_into(host: Path, cache: Path) -> bool:
    """Whether `host` is or holds a link into DVC's cache (cache.type symlink), and would be empty without it."""
    entries: Iterable[Path] = (Path(at, name) for at, folders, files in os.walk(host) for name in [*folders, *files])
    inner = (entry for entry in entries if entry.is_symlink())
    return any(Path(os.path.normpath(link.parent / link.readlink())).is_relative_to(cache) for link in inner)


def _gpu_request(gpus: Sequence[str]) -> dict[str, Any]:
    return {"Driver": "nvidia", "DeviceIDs": list(gpus), "Capabilities": [["gpu", "compute", "utility"]]}
