"""What a Ray worker runs: the job of a folder, or one node's part of it, as its own process.

Only plain strings come in and go out.
"""

import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from capillary.lifetimes.leash import kill_group, leash
from capillary.places.job import JOB_FILE, LOG_FILE
from capillary.places.node.others import free_port
from capillary.places.outcome import ENDED_FILE, STOP_FILE

ENDED, CUT_SHORT, NO_FOLDER = "ended", "cut short", "no folder"
POLL_S = 0.5  # between two looks for a request to stop, which the head leaves in the folder


def run_folder(folder: str, variables: str, meeting: str = "") -> str:
    """Carry out the job in `folder` with the environment `variables` (a JSON object) over the worker's own.

    `meeting` is where the first of several nodes meets the others. Returns how that went: ENDED when ended.json says
    so, CUT_SHORT, or NO_FOLDER and the name of this node.
    """
    place = Path(folder)
    if not (place / JOB_FILE).is_file():
        return f"{NO_FOLDER} {platform.node()}"
    _run(place, variables, ["capillary.places.node.work", folder, *meeting.split()])
    return ENDED if (place / ENDED_FILE).is_file() else CUT_SHORT


def run_part(folder: str, variables: str, meeting: str, node: str) -> str:
    """Run the part of node number `node` of the job in `folder`. It writes how that went into the folder."""
    place = Path(folder)
    if not (place / JOB_FILE).is_file():
        return f"{NO_FOLDER} {platform.node()}"
    _run(place, variables, ["capillary.places.node.peer", folder, *meeting.split(), node])
    return ENDED


def choose_meeting() -> str:
    """The address of this node in the cluster and a free port, separated by a blank."""
    return f"{importlib.import_module('ray').util.get_node_ip_address()} {free_port()}"


def _own_environment() -> dict[str, str]:
    """The worker's environment without what Ray tells its own processes."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def _run(folder: Path, variables: str, module: list[str]) -> None:
    environment = {**_own_environment(), **json.loads(variables)}
    argv = [sys.executable, "-P", "-m", *module]
    with leash() as tie, (folder / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        tie(process.pid)  # a worker that is killed, or whose node is, leaves nothing that works on
        _wait(process, folder / STOP_FILE)
        kill_group(process.pid)


def _wait(process: "subprocess.Popen[bytes]", request: Path) -> None:
    """Return when `process` has ended. It is asked to stop once the file `request` is there."""
    asked = False
    while True:
        try:
            process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            if not asked and request.exists():
                asked = True
                process.terminate()  # Ray starts its workers with SIGINT blocked
        else:
            return
