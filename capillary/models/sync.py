"""`capillary sync`: publishes the runs that wait on this disk for a tracking server."""

import tempfile
from pathlib import Path

from capillary.executors.choose import choose_executor
from capillary.lifetimes.stop import Stop
from capillary.models.steps import Step, run_step
from capillary.planning.plan import OUTBOX
from capillary.project_folder import require_project
from capillary.settings import read_settings
from stages.common.program.console import print_answer


def run_sync(root: Path, stop: Stop) -> int:
    """Publish; returns the exit code. Nothing is started where nothing waits."""
    require_project(root)
    if not waiting(root):
        print_answer("nothing waits to be published")
        return 0
    settings = read_settings(root)
    step = Step(stage="sync", argv=(), takes=None, makes=None, root=root)
    with tempfile.TemporaryDirectory() as folder:
        return run_step(step, Path(folder), settings, choose_executor(settings), stop)


def waiting(root: Path) -> list[Path]:
    """The folders of the runs that wait."""
    outbox = root / OUTBOX
    return sorted(each for each in outbox.iterdir() if not each.name.startswith(".")) if outbox.is_dir() else []
