"""Small outs of a finished stage, kept until dvc.lock has them: who is killed between the two trains nothing twice."""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import quote

from capillary.planning.plan import StagePlan
from capillary.publishing.publish import publish, refuse_foreign
from capillary.publishing.take_over import take_over

_ROOM = Path(".capillary", "finished")
_RUN = re.compile(r"-[0-9a-f]{16}$")
_GONE = ".gone"


def keep(plan: StagePlan, work: Path) -> None:
    """Copy the outs of `plan` from its working folder `work`, in place of those of its previous runs.

    Only for a stage that may resume: its outs are small compared with what it costs to make them.
    """
    if not plan.access.resume:
        return
    room = plan.repository / _ROOM
    for former in list(room.iterdir()) if room.is_dir() else ():
        if former.name.endswith(_GONE):
            shutil.rmtree(former, ignore_errors=True)  # of a process that was killed, or that is about to
        elif _RUN.sub("", former.name) == _safe(plan.address):
            _discard(former)
    ready = room / f".{_name(plan)}.tmp"
    _remove(ready)
    for out in plan.outs:
        (ready / out).parent.mkdir(parents=True, exist_ok=True)
        take_over(work, out, ready / out, copies=True)
    _flush(ready)
    ready.rename(room / _name(plan))


def has(plan: StagePlan) -> bool:
    """Whether `keep` kept the outs of a run with the same deps, params and environment."""
    return (plan.repository / _ROOM / _name(plan)).is_dir()


def take(plan: StagePlan) -> bool:
    """Publish what `keep` kept of a run with the same deps, params and environment; whether there was any."""
    kept = plan.repository / _ROOM / _name(plan)
    if not kept.is_dir():
        return False
    refuse_foreign(kept, f"what was kept of {plan.address}", f"remove {kept} and repeat dvc repro")
    copy = kept.with_name(f".{kept.name}.taken")
    _remove(copy)
    take_over(kept.parent, kept.name, copy, copies=True)
    try:
        publish(copy, plan.outs, plan.root)
    finally:
        _remove(copy)
    return True


def _name(plan: StagePlan) -> str:
    return f"{_safe(plan.address)}-{plan.order.fingerprint[:16]}"


def _safe(address: str) -> str:
    """`address` as a name of one folder, unlike that of any other address: an item of a matrix may hold a slash."""
    return quote(address, safe="@=,+ ")


def _discard(folder: Path) -> None:
    """Under another name first: half of it must not be taken for all."""
    gone = folder.with_name(f".{folder.name}{_GONE}")
    _remove(gone)
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Bring the files in `folder` to the disk: a machine that goes down must not leave their names alone."""
    for file in (each for each in folder.rglob("*") if each.is_file()):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
