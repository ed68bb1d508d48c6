"""What a node runs: `python -m capillary.places.node.work FOLDER` runs the job in FOLDER in the node's own executor.

The first of several nodes is also given HOST and PORT, at which it meets the others.
"""

import dataclasses
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from capillary.compute.circumstances import circumstances_here
from capillary.executors.choose import Executor, choose_executor
from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop, listening
from capillary.places.job import GATES, LOG_FILE, Job, plan_of, read_job, refuse_changed
from capillary.places.node.others import Others, StartedElsewhere, forget_peers
from capillary.places.node.room import is_full, lacked_space, scratch_folder, size_of
from capillary.places.outcome import (
    OUTS,
    STOP_FILE,
    Attempt,
    Ended,
    attempts,
    read_ended,
    write_attempt,
    write_circumstances,
    write_ended,
)
from capillary.planning.plan import StagePlan
from capillary.publishing.publish import publish
from capillary.settings import BASE_VARIABLES, ExecutorName, PlaceName, Settings, read_settings
from stages.common.errors import CapillaryError, ExitCode, MachineError, find_foreseen
from stages.common.program.ending import print_report, run_main
from stages.common.program.messages import get_logger
from stages.common.runtime import ORDER_FILE, Rendezvous, read_order
from stages.common.stage_main import tell_as

log = get_logger(__name__)

# attempts that are cut short without a checkpoint, one after the other, before nobody tries again
MOST_IN_VAIN = 3
# what else a training keeps there (stages/train/resuming/lock.py, stages/common/tracking/system_metrics.py)
NO_CHECKPOINTS = frozenset({"lock", "system.csv"})


def run_job(
    folder: Path, stop: Stop, others: Others | None = None, before_end: Callable[[], None] = lambda: None
) -> int:
    """Run the job in `folder`, on the first of several nodes with the `others`; returns its exit code.

    ended.json is written last, whatever the end; only a job that was interrupted and is worth another attempt leaves
    none. A job that had ended already is not run again. `before_end` is called before it is decided which of the two.
    """
    if (former := read_ended(folder)) is not None:
        return former.code
    job = read_job(folder)
    tell_as(read_order(folder / ORDER_FILE))
    attempt = Attempt(node=node_name(), started=time.time())
    write_attempt(folder, attempt)
    since = size_of(folder / LOG_FILE)
    if (folder / STOP_FILE).exists():  # asked while it waited, or before it could hear a signal
        log.warning("the job was asked to end before it began")
        write_ended(
            folder, Ended(code=ExitCode.TERMINATED, node=attempt.node, started=attempt.started, ended=time.time())
        )
        return ExitCode.TERMINATED
    code: int = ExitCode.UNEXPECTED
    try:
        code = _pass_gates(folder, stop) or _carry_out_together(job, folder, stop, others)
    except (CapillaryError, OSError, MemoryError) as error:
        code = report(error)
    finally:
        before_end()
        if not _is_worth_another(job, folder, stop, code):
            code = ExitCode.MACHINE if code == ExitCode.RANK_LOST else code  # no further attempt
            full = "" if stop.asked else _full_disk(folder, code, since)
            ended = Ended(code=code, node=attempt.node, started=attempt.started, ended=time.time(), full=full)
            write_ended(folder, ended)
    return code


def _full_disk(folder: Path, code: int, since: int) -> str:
    """The node's folder for temporary files if the job failed for want of space, and not in the shared `folder`."""
    scratch = scratch_folder(os.environ)
    lacked = lacked_space(code, scratch, folder / LOG_FILE, since) and not is_full(folder)
    return str(scratch) if lacked else ""


def _carry_out_together(job: Job, folder: Path, stop: Stop, others: Others | None) -> int:
    if others is None:
        return _carry_out(job, folder, stop)
    forget_peers(folder)
    rendezvous = others.start(stop)
    code: int = ExitCode.UNEXPECTED
    try:
        code = _carry_out(job, folder, stop, rendezvous)
    finally:
        code = others.joined(code)
    return code


def _pass_gates(folder: Path, stop: Stop) -> int:
    """The exit code of the first gate that stops the job; 0 if all pass."""
    gates = sorted((folder / GATES).glob("*"))
    return next((code for gate in gates if (code := _carry_out(read_job(gate), gate, stop))), 0)


def node_name() -> str:
    """What the cluster calls this node, or the machine itself."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def _carry_out(job: Job, folder: Path, stop: Stop, rendezvous: Rendezvous | None = None) -> int:
    plan, executor = prepare(job, folder, rendezvous)

    def keep_outs(work: Path) -> None:
        here = circumstances_here(job.environment_id, plan.order.compute, in_container=executor is not process)
        write_circumstances(folder, here)
        _keep_outs(plan, work, folder)

    return executor.execute(plan, stop, keep_outs)


def prepare(job: Job, folder: Path, rendezvous: Rendezvous | None = None) -> tuple[StagePlan, Executor]:
    """The plan of `job` on this node, and who runs it; several nodes meet at `rendezvous`, over the network.

    Raises CapillaryError when a dep has changed, or this node has other packages than the head.
    """
    refuse_changed(job)
    settings = _settings(job)
    executor = choose_executor(settings)
    _refuse_other_environment(job, executor.environment_id(job.root, job.stage, job.access))
    plan = plan_of(job, folder, settings, settings.select(BASE_VARIABLES))
    plan = dataclasses.replace(plan, environment={**plan.environment, **_devices(job, settings)})
    if rendezvous is not None:
        order = dataclasses.replace(plan.order, rendezvous=rendezvous)
        plan = dataclasses.replace(plan, order=order, needs_network=True)
    return plan, executor


def _settings(job: Job) -> Settings:
    """The settings on this node: the project's .env, and its own environment for what the head handed on by name."""
    settings = read_settings(job.repository)
    # a daemon sees all GPUs of the node, a process those that the cluster leaves it
    in_containers = job.executor in {ExecutorName.DOCKER, ExecutorName.PODMAN}
    given = "SLURM_JOB_GPUS" if job.place is PlaceName.SLURM else "CUDA_VISIBLE_DEVICES"
    gpus = os.environ.get(given, settings.gpus) if in_containers else ""
    return settings.model_copy(update={"executor": job.executor, "gpus": gpus})


def _devices(job: Job, settings: Settings) -> dict[str, str]:
    """The GPUs that the cluster gave this job. The head's list names other devices."""
    own = settings.select(["CUDA_VISIBLE_DEVICES"])
    return own if "CUDA_VISIBLE_DEVICES" in job.access.env else {}


def _keep_outs(plan: StagePlan, work: Path, folder: Path) -> None:
    """Move the outs to FOLDER/outs, which is there whole or not at all."""
    ready = folder / f".{OUTS}"
    for former in (ready, folder / OUTS):
        if former.exists():
            shutil.rmtree(former)
    ready.mkdir()
    publish(work, plan.outs, ready)
    ready.rename(folder / OUTS)


def _is_worth_another(job: Job, folder: Path, stop: Stop, code: int) -> bool:
    """Whether the job was cut short (but not by the head) or lost a node, and another attempt would get further."""
    lost = code == ExitCode.RANK_LOST
    if not (lost or stop.asked is not None) or (folder / STOP_FILE).exists():
        return False
    if not job.access.resume:
        log.warning(f"{job.stage} cannot resume, so it is not started again; raise the time limit of its jobs")
        return False
    if _attempts_in_vain(folder) < MOST_IN_VAIN:
        return True
    remedy = "see above for what ended a process" if lost else "raise the time limit of its jobs"
    log.warning(f"{MOST_IN_VAIN} attempts were cut short before they wrote a checkpoint; {remedy}")
    return False


def _attempts_in_vain(folder: Path) -> int:
    """How many attempts began since the last checkpoint was written."""
    state = read_order(folder / ORDER_FILE).state_dir
    # a training's lock and the samples of its load are new in every attempt, and bring none any further
    kept = (file for file in state.rglob("*") if file.is_file() and file.name not in NO_CHECKPOINTS)
    written = max((file.stat().st_mtime for file in kept), default=0.0)
    return sum(attempt.started > written for attempt in attempts(folder))


def _refuse_other_environment(job: Job, found: list[str]) -> None:
    if tuple(found) != job.environment_id:
        raise MachineError(
            f"this node has other packages for {job.stage}",
            value=f"{' '.join(found)}, but the job was planned for {' '.join(job.environment_id)}",
            remedy="keep the Python environment on the shared file system, and choose nodes of the same kind",
        )


def report(error: Exception) -> int:
    """Print an expected `error` and return its exit code; raise any other."""
    foreseen = find_foreseen(error)
    if foreseen is None:
        raise error
    print_report(foreseen)
    return foreseen.code


def main() -> None:
    """Carry out the job of the folder that the argument names."""
    folder, *meeting = sys.argv[1:]
    with listening() as stop:
        sys.exit(run_job(Path(folder), stop, _others(Path(folder), *meeting)))


def _others(folder: Path, host: str = "", port: str = "") -> Others | None:
    if not host:
        return None
    return StartedElsewhere(folder, read_order(folder / ORDER_FILE).compute.nodes, host, int(port))


if __name__ == "__main__":
    run_main(main)
