"""What the batch script of a job runs on its node: the job, and back into the queue when it was cut short."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from capillary.lifetimes.stop import listening
from capillary.places.node.work import node_name, run_job
from capillary.places.outcome import REQUEUED_FILE, Ended, read_ended, write_ended
from capillary.places.slurm import queue
from capillary.places.slurm.step import find_others
from stages.common.errors import ExitCode
from stages.common.program.ending import run_main
from stages.common.program.messages import get_logger

log = get_logger(__name__)

RUNNING = "RUNNING"


def main() -> None:
    """Carry out the job of the folder that the argument names."""
    folder = Path(sys.argv[1])
    started = time.time()
    with listening() as stop:
        code = run_job(folder, stop, find_others(folder))
        if read_ended(folder) is None:
            _again(folder, own_job(os.environ), code, started)
    sys.exit(code)


def own_job(variables: Mapping[str, str]) -> str:
    """What Slurm's commands call this job. The number of an array's task alone may stand for the whole array."""
    array = variables.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{variables['SLURM_ARRAY_TASK_ID']}" if array else variables["SLURM_JOB_ID"]


def _again(folder: Path, job: str, code: int, started: float) -> None:
    """Requeue the job at its time limit, or one that lost a node.

    One that somebody cancelled stays so, and Slurm requeues the others itself.
    """
    info = queue.ask(job)
    if isinstance(info, queue.JobInfo) and info.state != RUNNING:
        return
    log.warning("the job was cut short: it returns to the queue and resumes from its checkpoint")
    if code == ExitCode.RANK_LOST:
        (folder / REQUEUED_FILE).unlink(missing_ok=True)  # Slurm may not know yet that a node is gone
    else:
        (folder / REQUEUED_FILE).touch()
    if refusal := queue.requeue(job):
        log.warning(f"Slurm does not requeue it: {refusal}")
        code = ExitCode.MACHINE if code == ExitCode.RANK_LOST else code
        write_ended(folder, Ended(code=code, node=node_name(), started=started, ended=time.time()))


if __name__ == "__main__":
    run_main(main)
