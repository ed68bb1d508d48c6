"""The cells of an experiment before their heads start and after they were stopped: what others computed of them, and
what is in the queue of a cluster.
"""

import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from capillary.lifetimes.interrupts import passing_on
from capillary.settings import PlaceName, Settings

AHEAD = (sys.executable, "-P", "-m", "capillary.launcher.ahead")
PREFETCH = (sys.executable, "-P", "-m", "capillary.cache.prefetch")


def fetch_ahead(root: Path, environment: Mapping[str, str], cells: Sequence[str], settings: Settings) -> int:
    """Fetch what others computed of `cells`, where the settings name a shared cache. Returns 0, or the exit code of a
    request to stop. If anything else goes wrong, cells are computed.
    """
    if settings.shared_cache is None or not cells:
        return 0
    with (
        subprocess.Popen([*PREFETCH, *cells], cwd=root, env=dict(environment)) as process,
        passing_on(process.terminate) as asked,
    ):
        process.wait()
    return asked.code


def submit_ahead(root: Path, environment: Mapping[str, str], cells: Sequence[str], settings: Settings) -> int:
    """Submit equal `cells` as arrays where jobs run on Slurm. Returns 0, or the exit code of a request to stop.

    `environment` is that of the jobs, which may print more than is shown here.
    If anything else goes wrong, the cells' heads submit what is not in the queue.
    """
    if settings.place is not PlaceName.SLURM or len(cells) < 2:
        return 0
    with passing_on(lambda: None) as asked:  # a terminal's Ctrl-C reaches the process itself
        subprocess.run([*AHEAD, settings.log_level, *cells], cwd=root, env=dict(environment), check=False)
    if asked.code:
        leave_queue(root, cells, settings, asked.code)
    return asked.code


def leave_queue(root: Path, cells: Collection[str], settings: Settings, code: int) -> None:
    """After Ctrl-C: cancel the jobs of `cells` whose head was never started. Other requests leave jobs alone."""
    if settings.place is not PlaceName.SLURM or code != 128 + signal.SIGINT:
        return
    from capillary.places.jobs import withdraw  # for those who have a cluster only

    withdraw(root, cells)
