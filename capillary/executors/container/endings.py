"""How a stage's container ended, from the daemon's events, and what to say of it."""

import os
import signal
import sys
import threading
from dataclasses import dataclass

import docker
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from capillary.compute.memory import GIB, memory_limit
from capillary.executors.container.logs import Log, not_found
from capillary.executors.container.scratch import work_folder
from capillary.executors.container.spec import ContainerHost
from capillary.lifetimes.stop import Stop, tell_of_kill
from capillary.planning.plan import StagePlan
from stages.common.errors import ExitCode

PATIENCE_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The exit code of a container, and whether something in it was killed for memory."""

    code: int
    out_of_memory: bool


class EndingWatch:
    """Listens to the daemon's events of one container: it removes itself, so nothing can be asked afterwards."""

    def __init__(self, api: docker.APIClient, container: str) -> None:
        self._events = api.events(filters={"container": [container]}, decode=True)
        self._code: int | None = None
        self._out_of_memory = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def wait(self) -> Ending | None:
        """The ending, soon after the container's streams closed; None when the daemon does not tell it any more."""
        self._thread.join(PATIENCE_S)
        if self._code is None:
            return None
        return Ending(code=self._code, out_of_memory=self._out_of_memory)

    def _listen(self) -> None:
        try:
            for event in self._events:
                if event["Action"] == "oom":
                    self._out_of_memory = True
                elif event["Action"] == "die":
                    self._code = int(event["Actor"]["Attributes"]["exitCode"])
                    return
        except (RequestException, HTTPError, OSError):
            return  # the daemon is gone: wait() finds no code


def tell_of(ending: Ending, plan: StagePlan, place: ContainerHost, stop: Stop, log: Log) -> int:
    """Say what the stage could not say itself; returns the exit code."""
    if ending.code == 0:
        return 0
    code = ending.code
    text = _explanation(ending, plan, place, stop)
    if text is None and (text := _undeclared(plan, log.tail)) and code == ExitCode.UNEXPECTED:
        code = ExitCode.UNDECLARED  # the stage saw only a file that is missing
    if text:
        sys.stderr.write(f"{plan.address} {text}\n")
    sys.stderr.write(f"log: {log.file.relative_to(plan.repository)}\n")
    return stop.exit_code or code


def _explanation(ending: Ending, plan: StagePlan, place: ContainerHost, stop: Stop) -> str | None:
    if stop.killed:
        return tell_of_kill(plan.grace_s)
    if stop.asked is not None:
        return None
    if ending.out_of_memory:
        return _out_of_memory(plan, place)
    if ending.code == 128 + signal.SIGKILL:
        return "was killed from outside (docker kill, or out of memory: see dmesg); remedy: repeat to resume"
    if ending.code in {128 + signal.SIGTERM, 128 + signal.SIGINT}:
        return "was stopped from outside (docker stop, or the Docker daemon going down); remedy: repeat to resume"
    if ending.code > 128 and ending.code - 128 in set(signal.Signals):
        return f"was ended by {signal.Signals(ending.code - 128).name}"
    return None


def _out_of_memory(plan: StagePlan, place: ContainerHost) -> str:
    entry = plan.gated.split("@")[0] if plan.gated else plan.stage  # a gate has the limit of the stage that it gates
    key = f"memory_gb of {entry} in configs/stages.yaml"
    limit = memory_limit(plan.access.memory_gb, place.memory_bytes, place.side_by_side)
    if limit is None:
        found, first = "this machine has no more memory", "free memory"
    elif plan.access.memory_gb is None:
        share = f"the share of one of {place.side_by_side} stages" if place.side_by_side > 1 else "the default"
        found, first = f"its limit is {limit / GIB:.3g} GB ({share}, since {key} is null)", f"set {key}"
    else:
        found, first = f"its limit is {limit / GIB:.3g} GB ({key})", f"raise {key}"
    return (
        f"ran out of memory: {found}; remedy: {first}, or reduce what it processes at once "
        "(training.batch_size, training.patch_voxels, CAPILLARY_WORKERS)"
    )


def _undeclared(plan: StagePlan, tail: bytes) -> str | None:
    """Whether it failed on a file that exists in the workspace but not for the stage."""
    name = not_found(tail)
    if name is None:
        return None
    inner = os.path.relpath(work_folder(plan) / name, work_folder(plan))
    if not (plan.root / inner).exists():
        return None
    return (
        f"was refused {inner}: dvc.yaml does not declare it for this stage; "
        f"remedy: add it to the deps of {plan.stage} in dvc.yaml, or do not use it"
    )
