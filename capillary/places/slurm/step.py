"""The other nodes of a job: a step of the job starts them, and the program in the batch script watches them."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from capillary.lifetimes.leash import kill_group, leash
from capillary.lifetimes.stop import Stop, ask_to_stop
from capillary.places.node.others import (
    PATIENCE_S,
    choose_meeting,
    joint_code,
    peer_folder,
    rendezvous_of,
    wait_for_codes,
)
from capillary.places.slurm import queue
from capillary.places.slurm.script import step_argv
from stages.common.errors import ExitCode
from stages.common.program.messages import get_logger
from stages.common.runtime import ORDER_FILE, Rendezvous, read_order

log = get_logger(__name__)

# what the stage here may take to end after the others did: rank 0 may wait for its disk and the tracking server
NOTICE_S = 90.0


def find_others(folder: Path) -> "Step | None":
    """The other nodes of the job in `folder`; None when it has one node."""
    nodes = read_order(folder / ORDER_FILE).compute.nodes
    return Step(folder, nodes, int(os.environ["SLURM_CPUS_PER_TASK"])) if nodes > 1 else None


class Step:
    """Satisfies places.node.others.Others."""

    def __init__(self, folder: Path, nodes: int, cpus: int) -> None:
        self._folder, self._nodes, self._cpus = folder, nodes, cpus
        self._ended = threading.Event()  # here
        self._failed = False
        self._stop: Stop | None = None
        self._stack = contextlib.ExitStack()

    def start(self, stop: Stop) -> Rendezvous:
        """Start them. If one fails, `stop` is asked: the stage here could wait for it for minutes."""
        self._stop = stop
        _, other, *_ = queue.nodes_of_job()
        host, port = choose_meeting(queue.address_of(other))
        peer = [sys.executable, "-P", "-m", "capillary.places.node.peer", str(self._folder), host, str(port)]
        tie = self._stack.enter_context(leash())
        self._process = subprocess.Popen(  # requests to stop go to the stage here, and its ranks tell the others
            step_argv(self._nodes, self._cpus, peer), stdin=subprocess.DEVNULL, process_group=0
        )
        tie(self._process.pid)
        threading.Thread(target=self._watch, name="watches the other nodes", daemon=True).start()
        return rendezvous_of(0, host, port)

    def joined(self, code: int) -> int:
        """The exit code of all."""
        self._ended.set()
        with self._stack:
            self._end()
        if self._failed and self._stop is not None:
            self._stop.asked = None  # by this process itself
            code = ExitCode.RANK_LOST
        return joint_code(code, wait_for_codes(self._folder, self._nodes, 0.0))

    def _watch(self) -> None:
        if self._process.wait() == 0:
            return
        have_begun = any(peer_folder(self._folder, node).is_dir() for node in range(1, self._nodes))
        if self._ended.wait(NOTICE_S if have_begun else 0.0) or (self._stop and self._stop.asked):
            return
        what = "another node ended, and the stage did not notice" if have_begun else "srun started no other node"
        log.warning(f"{what}; the stage is ended on this one, too")
        self._failed = True
        ask_to_stop()

    def _end(self) -> None:
        """Wait until they have ended by themselves; end them if they do not."""
        if not self._has_ended():
            self._process.terminate()
        if not self._has_ended():
            kill_group(self._process.pid)
            self._process.wait()

    def _has_ended(self) -> bool:
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return False
        return True
