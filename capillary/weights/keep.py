"""`capillary weights keep`: the networks of the cards into weights/, and weights/ into DVC's keeping."""

import subprocess
from pathlib import Path

from capillary.dvc.commands import DVC
from capillary.executors.choose import Executor, choose_executor
from capillary.lifetimes.stop import Stop
from capillary.models.steps import Step, plan_step
from capillary.planning.plan import WEIGHTS
from capillary.project_folder import require_project
from capillary.publishing.publish import publish_out
from capillary.settings import Settings, read_settings
from capillary.weights.choice import FILE, weights_in_remote
from stages.common.errors import DataError, UsageError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

# as the stage calls them
CARDS, MADE, FORMER = "models", "kept", "former"


def keep_weights(root: Path, stop: Stop) -> int:
    """Bring weights/ up to date with the cards in models/; returns the exit code.

    Raises CapillaryError (usage) unless the team chose it, and for a weights/ that DVC does not take.
    """
    require_project(root)
    if not weights_in_remote(root):
        raise UsageError(
            "this team keeps networks in the registry only",
            file=FILE,
            remedy="set tracking.weights_in_remote: true there, and commit it",
        )
    settings = read_settings(root)
    code = _make(root, settings, choose_executor(settings), stop)
    if code == 0:
        _hand_to_dvc(root)
        log.info(f"{WEIGHTS}/ is up to date: commit {WEIGHTS}.dvc, then dvc push")
    return code


def _make(root: Path, settings: Settings, executor: Executor, stop: Stop) -> int:
    former = {FORMER: root / WEIGHTS} if (root / WEIGHTS).is_dir() else {}
    step = Step(stage="weights", argv=(), takes=CARDS, makes=MADE, root=root)
    plan = plan_step(step, root, settings, executor, also=former)
    return executor.execute(plan, stop, lambda work: publish_out(work, MADE, root / WEIGHTS))


def _hand_to_dvc(root: Path) -> None:
    """`dvc add` makes weights.dvc, by which `dvc push`, `pull` and `gc` know the files."""
    done = subprocess.run(
        [*DVC, "add", "--quiet", WEIGHTS], cwd=root, check=False, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise DataError(
            f"DVC cannot add {WEIGHTS}/",
            value=done.stderr.strip()[-500:],
            remedy=f"correct what DVC names, then repeat: dvc add {WEIGHTS}",
        )
