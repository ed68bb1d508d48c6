"""Small outs of a finished stage, kept until dvc.lock has them: who is killed between the two trains nothing twice."""

import shutil
from pathlib import Path

from capillary.launcher.plan import StagePlan
from capillary.launcher.publish import publish

_ROOM = Path(".capillary", "finished")


def keep(plan: StagePlan, work: Path) -> None:
    """Copy the outs of `plan` from its working folder `work`, in place of those of its former runs.

    Only for a stage that may resume: its outs are small beside what it costs to make them.
    """
    if not plan.access.resume:
        return
    room = plan.repository / _ROOM
    for former in room.glob(f"{plan.address}-*"):
        shutil.rmtree(former)
    ready = room / f".{_name(plan)}.tmp"
    _remove(ready)
    for out in plan.outs:
        _copy(work / out, ready / out)
    ready.rename(room / _name(plan))


def take(plan: StagePlan) -> bool:
    """Publish what `keep` kept of a run with the same deps, params and environment; whether there was any."""
    kept = plan.repository / _ROOM / _name(plan)
    if not kept.is_dir():
        return False
    copy = kept.with_name(f".{kept.name}.taken")
    _remove(copy)
    shutil.copytree(kept, copy)
    try:
        publish(copy, plan.outs, plan.root)
    finally:
        _remove(copy)
    return True


def _name(plan: StagePlan) -> str:
    return f"{plan.address}-{plan.fingerprint.whole[:16]}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
