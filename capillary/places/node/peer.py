"""What every node of a job but the first runs: `python -m capillary.places.node.peer FOLDER HOST PORT [NODE]`.

The same plan in a folder of its own, without outs. Without NODE the number is that of the task in a step of Slurm.
"""

import dataclasses
import os
import sys
import time
from pathlib import Path

from capillary.lifetimes.stop import Stop, listening
from capillary.places.job import read_job
from capillary.places.node.others import peer_folder, rendezvous_of
from capillary.places.node.work import node_name, prepare, report
from capillary.places.outcome import Ended, write_ended
from stages.common.errors import CapillaryError, ExitCode
from stages.common.program.ending import run_main
from stages.common.runtime import ORDER_FILE, Rendezvous, read_order
from stages.common.stage_main import tell_as


def run_peer(folder: Path, rendezvous: Rendezvous, stop: Stop) -> int:
    """Carry out the part of this node; returns its exit code, which it leaves in its folder."""
    own = peer_folder(folder, rendezvous.node)
    own.mkdir(parents=True, exist_ok=True)
    started = time.time()
    code: int = ExitCode.UNEXPECTED
    try:
        tell_as(read_order(folder / ORDER_FILE))
        plan, executor = prepare(read_job(folder), folder, rendezvous)
        plan = dataclasses.replace(plan, repository=own, outs=())
        code = executor.execute(plan, stop, lambda _work: None)
    except (CapillaryError, OSError, MemoryError) as error:
        code = report(error)
    finally:
        write_ended(own, Ended(code=code, node=node_name(), started=started, ended=time.time()))
    return code


def main() -> None:
    """Carry out the part of this node in the job of the folder that the first argument names."""
    folder, host, port, *number = sys.argv[1:]
    node = int(number[0]) if number else int(os.environ["SLURM_PROCID"]) + 1
    with listening() as stop:
        sys.exit(run_peer(Path(folder), rendezvous_of(node, host, int(port)), stop))


if __name__ == "__main__":
    run_main(main)
