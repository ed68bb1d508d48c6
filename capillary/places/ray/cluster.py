"""The only module that uses Ray's API: connect, submit a task, ask about it, cancel it."""

import contextlib
import importlib
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from capillary.places.ray.config import RayProfile
from capillary.places.ray.task import choose_meeting, run_folder, run_part
from stages.common.errors import ServiceError, UsageError
from stages.common.lifetimes.signals import STOPS, kept

GB = 10**9
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Loss(StrEnum):
    """Why a task ended without leaving a result."""

    CANCELLED = "cancelled"
    NODE = "its node or worker was lost, and so were those of its retries"
    MEMORY = "the node ran out of memory"
    OTHER = "Ray could not run it"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A submitted task. `ref` is Ray's own object, as are `parts`, the tasks of the other nodes, and `group`."""

    name: str
    ref: Any
    parts: tuple[Any, ...] = ()
    group: Any = None


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The end of a task without a result, and what Ray says about it."""

    why: Loss
    words: str = ""


class RayCluster:
    """A connection to a cluster."""

    def __init__(self, ray: Any, *, is_local: bool) -> None:
        self._ray = ray
        self._is_local = is_local

    def submit(self, address: str, folder: str, variables: str, profile: RayProfile) -> Task:
        """Submit the job in `folder`."""
        if profile.nodes > 1:
            return self._submit_group(address, folder, variables, profile)
        options: dict[str, Any] = {"num_cpus": profile.cpus, "num_gpus": profile.gpus, "max_retries": profile.retries}
        if not self._is_local:  # a cluster that was started for this task has what the machine has
            options["memory"] = int(profile.memory_gb * GB)
        ref = self._ray.remote(run_folder).options(name=address, **options).remote(folder, variables)
        return Task(name=ref.task_id().hex()[:16], ref=ref)

    def _submit_group(self, address: str, folder: str, variables: str, profile: RayProfile) -> Task:
        """One task on each of several nodes, which begin together. Ray restarts none of them alone: all start again."""
        group = self._ray.util.placement_group(bundles(profile), strategy="STRICT_SPREAD")
        strategy = self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy

        def on(node: int, function: Callable[..., str], **resources: float) -> Any:
            where = strategy(placement_group=group, placement_group_bundle_index=node)
            options = {"scheduling_strategy": where, "max_retries": 0, **resources}
            return self._ray.remote(function).options(name=f"{address} node {node}", **options)

        meeting = on(0, choose_meeting, num_cpus=0).remote()
        wanted = {"num_cpus": profile.cpus, "num_gpus": profile.gpus, "memory": int(profile.memory_gb * GB)}
        ref = on(0, run_folder, **wanted).remote(folder, variables, meeting)
        parts = [on(n, run_part, **wanted).remote(folder, variables, meeting, str(n)) for n in range(1, profile.nodes)]
        return Task(name=ref.task_id().hex()[:16], ref=ref, parts=tuple(parts), group=group)

    def result(self, task: Task, timeout_s: float) -> str | Lost | None:
        """What the task returned, or why it returned nothing; None if it has not ended after `timeout_s`."""
        ready, _ = self._ray.wait([task.ref], timeout=timeout_s)
        return self._end_of(task.ref) if ready else self._lost_part(task)

    def _lost_part(self, task: Task) -> Lost | None:
        """Why Ray lost one of the other nodes, for which the first could wait long."""
        ready = self._ray.wait(list(task.parts), num_returns=len(task.parts), timeout=0)[0] if task.parts else []
        return next((end for end in map(self._end_of, ready) if isinstance(end, Lost)), None)

    def _end_of(self, ref: Any) -> str | Lost:
        errors = self._ray.exceptions
        try:
            return str(self._ray.get(ref))
        except errors.TaskCancelledError:
            return Lost(why=Loss.CANCELLED)
        except errors.OutOfMemoryError as error:
            return Lost(why=Loss.MEMORY, words=_gist(error))
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OwnerDiedError) as error:
            return Lost(why=Loss.NODE, words=_gist(error))
        except errors.RayError as error:
            return Lost(why=Loss.OTHER, words=_gist(error))

    def cancel(self, task: Task) -> None:
        """End the task at once, wherever it is."""
        for ref in (task.ref, *task.parts):
            self._ray.cancel(ref, force=True)

    def release(self, task: Task, patience_s: float) -> None:
        """Release the nodes of an ended task once its parts have ended or after `patience_s`."""
        if task.group is not None:
            self._ray.wait(list(task.parts), num_returns=len(task.parts), timeout=patience_s)
            self.cancel(task)
            self._ray.util.remove_placement_group(task.group)

    def nodes(self) -> list[Mapping[str, float]]:
        """What each live node has, by Ray's names of resources."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


def bundles(profile: RayProfile) -> list[dict[str, float]]:
    """What a task of `profile` asks of each of its nodes, by Ray's names of resources."""
    wanted = {"CPU": profile.cpus, "GPU": profile.gpus, "memory": int(profile.memory_gb * GB)}
    return [{name: amount for name, amount in wanted.items() if amount}] * profile.nodes


def lacking(nodes: Sequence[Mapping[str, float]], profile: RayProfile) -> str:
    """Why a task of `profile` cannot start on `nodes`, in words; empty when it only has to wait."""
    wanted = {"CPU": profile.cpus, "GPU": profile.gpus}
    for name, count in wanted.items():
        able = sum(node.get(name, 0) >= count for node in nodes)
        if count and able < profile.nodes:
            which = "no node of the Ray cluster has" if not able else f"{able} of {profile.nodes} nodes have"
            return f"{which} {count} {name}{'s' if count > 1 else ''}"
    return ""


@contextlib.contextmanager
def connected(address: str | None, profile: RayProfile) -> Iterator[RayCluster]:
    """The cluster at `address`; None starts one for the block, which has what one task needs.

    Raises CapillaryError when Ray is not installed, ServiceError when the cluster does not answer.
    """
    ray = _import_ray()
    # Ray takes SIGTERM for itself when it connects, and a request to stop must reach the launcher; and it gives its
    # workers the driver's folder as a place of modules, where a project has its own stages
    with kept((*STOPS, signal.SIGALRM)), contextlib.chdir("/"):
        try:
            _connect(ray, address, profile)
        except Exception as error:  # Ray raises plain Exception and RuntimeError here
            raise _no_cluster(address, error) from error
    try:
        yield RayCluster(ray, is_local=address is None)
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None, profile: RayProfile) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address is None:
        ray.init(address="local", num_cpus=profile.cpus, include_dashboard=False, **quiet)
    else:
        ray.init(address=address, **quiet)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked for reports to its makers
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError(
            "CAPILLARY_PLACE=ray needs Ray, which is not installed",
            remedy="./just setup ray, or set CAPILLARY_PLACE=local",
        ) from error


def _no_cluster(address: str | None, error: Exception) -> ServiceError:
    if address is None:
        return ServiceError(
            "Ray could not start on this machine", value=_gist(error), remedy="free memory and cores, then repeat"
        )
    return ServiceError(
        "the Ray cluster does not answer",
        value=f"RAY_ADDRESS={address}: {_gist(error)}",
        remedy="check RAY_ADDRESS, and `ray status` on the cluster; its version must be the one in constraints.txt",
    )


def _gist(error: Exception) -> str:
    """What went wrong, without the traceback and terminal colours."""
    lines = [line for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1]
