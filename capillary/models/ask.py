"""A question about the registry, or a promotion, as one step of the stage `models`: the host has no MLflow client."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capillary.executors.choose import choose_executor
from capillary.lifetimes.stop import Stop
from capillary.models.steps import Step, run_step
from capillary.project_folder import require_project
from capillary.settings import read_settings
from stages.common.requests.questions import ANSWER, ANSWER_FILE

STAGE = "models"


def ask_registry(argv: Sequence[str], root: Path, stop: Stop) -> tuple[int, dict[str, Any]]:
    """(exit code, answer) of the step `argv`; the answer is empty if the step failed and said why."""
    require_project(root)
    settings = read_settings(root)
    executor = choose_executor(settings)
    (root / ".capillary").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="models-", dir=root / ".capillary") as name:
        folder = Path(name)
        step = Step(stage=STAGE, argv=tuple(argv), takes=None, makes=ANSWER, root=root)
        if code := run_step(step, folder, settings, executor, stop):
            return code, {}
        answer: dict[str, Any] = json.loads((folder / ANSWER / ANSWER_FILE).read_text(encoding="utf-8"))
        return 0, answer
