"""A step of `capillary models`: a stage that no entry of dvc.yaml declares, with files for the next step."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capillary.compute.computing import stage_compute
from capillary.executors.choose import Executor
from capillary.lifetimes.stop import Stop
from capillary.planning.access import read_access
from capillary.planning.make_plan import plan_stage
from capillary.planning.plan import CODE_FOLDER, Dep, StagePlan, StageRequest
from capillary.publishing.publish import publish_out
from capillary.settings import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """What runs: `stage` with `argv`, from the folder `takes` to the folder `makes` (None: nothing).

    Satisfies planning.plan.Declared.
    """

    stage: str
    argv: tuple[str, ...]
    takes: str | None
    makes: str | None
    root: Path

    @property
    def deps(self) -> list[str]:
        """Its code with all of stages/common. What it takes is added by plan_step."""
        return [f"{CODE_FOLDER}/__init__.py", f"{CODE_FOLDER}/common", f"{CODE_FOLDER}/{self.stage}"]

    @property
    def outs(self) -> list[str]:
        """A folder in the stage's working folder, or none."""
        return [] if self.makes is None else [self.makes]

    @property
    def cache_dir(self) -> Path:
        """DVC's cache, of which it needs nothing."""
        return self.root / ".dvc" / "cache"

    def params(self) -> dict[str, Any]:
        """None."""
        return {}

    def dep_hashes(self) -> dict[str, str]:
        """None are needed: nothing is recorded as made from them."""
        return {}


def plan_step(
    step: Step, folder: Path, settings: Settings, executor: Executor, also: Mapping[str, Path] | None = None
) -> StagePlan:
    """The plan of `step`, which takes what is in `folder`, and sees the folders `also`, by the names it has there."""
    access = read_access(step.root, step.stage)
    request = StageRequest(stage=step.stage, address=step.stage, argv=step.argv, root=step.root, repository=step.root)
    identity = executor.environment_id(step.root, step.stage, access)
    compute = stage_compute(step.root, settings, None)
    plan = plan_stage(request, step, access, settings, identity, compute)
    taken = () if step.takes is None else (Dep(name=step.takes, host=(folder / step.takes).resolve()),)
    more = (Dep(name=name, host=host.resolve()) for name, host in (also or {}).items())
    return dataclasses.replace(plan, deps=(*plan.deps, *taken, *more))


def run_step(step: Step, folder: Path, settings: Settings, executor: Executor, stop: Stop) -> int:
    """Run `step` and leave what it makes in `folder`; returns its exit code."""
    plan = plan_step(step, folder, settings, executor)

    def publish(work: Path) -> None:
        if step.makes is not None:
            publish_out(work, step.makes, folder / step.makes)

    return executor.execute(plan, stop, publish)
