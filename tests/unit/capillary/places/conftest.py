"""A job that is written: what its head leaves for a node."""

from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.executors.process import execute as process
from capillary.places.job import Handover, job_folder, write_job
from capillary.planning.access import StageAccess
from capillary.planning.plan import StagePlan
from capillary.settings import ExecutorName, PlaceName, read_settings

ACCESS = StageAccess(
    network="tracking",
    env=("MLFLOW_*", "TOY_*"),
    env_from={"AWS_*": "ARTIFACTS_AWS_*"},
    resume=True,
    gpu="none",
    memory_gb=None,
    pids=256,
    shm_gb=0.0625,
)
STAGE = """
import os, sys
from pathlib import Path
Path("data/out").mkdir()
Path("data/out/text").write_text(Path("data/in.txt").read_text() + os.environ.get("TOY_TOKEN", ""))
{more}
"""
Make = Callable[..., StagePlan]
Write = Callable[..., Path]


@pytest.fixture
def write(make_plan: Make, root: Path) -> Write:
    """The folder of a written job whose stage runs `more` after it made its out."""

    def write(more: str = "", *, variables: dict[str, str] | None = None, **changes: object) -> Path:
        for name, text in {
            "__init__.py": "",
            "toy/__init__.py": "",
            "toy/__main__.py": STAGE.format(more=more),
        }.items():
            (root / "stages" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "stages" / name).write_text(text)
        settings = read_settings(root, variables or {})
        environment = {name: settings.variables[name] for name in variables or {} if name.startswith("TOY_")}
        plan = make_plan("data/in.txt", "stages", environment=environment, **changes)
        folder = job_folder(plan)
        identity = process.environment_id(root, "toy", plan.access)
        write_job(
            plan,
            folder,
            Handover(place=PlaceName.SLURM, executor=ExecutorName.PROCESS, environment_id=identity, settings=settings),
        )
        return folder

    return write
