"""What a run keeps on disk for its container: room for the outs, its inputs, and places where deps are mounted.

.capillary/sandbox/<address>-<random>/
    lock                    held by the launcher while it lives
    inside.pyz              the first process in the container
    params.yaml             declared keys only
    order.json              how this run is to be done (stages/common/runtime.py)
    tmp/                    the stage's temporary files
    files/models/dice_ce/   parents of outs, mounted writable; the outs themselves are the stage's to make
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from capillary.executors.sandbox import folder_names, outermost, own_folder, write_inputs
from capillary.lifetimes.carried import write_first_process
from capillary.lifetimes.stop import Stop
from capillary.planning.plan import INPUTS, StagePlan
from capillary.publishing.publish import check_scratch


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """A laid run. `parents` are the folders of outs that are mounted, relative to the workspace."""

    base: Path
    work: Path
    parents: tuple[PurePath, ...]
    placeholders: frozenset[Path]

    @property
    def tmp(self) -> Path:
        """The stage's temporary files; on disk, since a tmpfs would count as the stage's memory."""
        return self.base / "tmp"


def work_folder(plan: StagePlan) -> PurePath:
    """The working folder in the container: as deep below /work as the furthest `..` of a dep reaches."""
    return PurePath("/work") / folder_names(plan)


def run_in_scratch(plan: StagePlan, stop: Stop, publish: Callable[[Path], None], run: Callable[[Scratch], int]) -> int:
    """`run` the container of `plan`; when it ends with 0, `publish` takes the outs from the folder that it is given.

    Returns the stage's exit code, or that of the request to stop.
    """
    for folder in plan.writable:
        folder.mkdir(parents=True, exist_ok=True)
    with own_folder(plan.repository, plan.address) as base:
        scratch = lay_scratch(plan, base)
        if stop.asked is not None:
            return stop.exit_code
        code = run(scratch)
        if code == 0:
            check_scratch(scratch.work, plan.outs, scratch.placeholders, plan.address)
            publish(scratch.work)
        return code or stop.exit_code


def lay_scratch(plan: StagePlan, base: Path) -> Scratch:
    """Make the folders and files of `plan` in `base`.

    A dep below an out's parent is mounted into that parent's mount: its place must exist, or the daemon would make
    one, owned by root, in what is published.
    """
    work = base / "files"
    parents = outermost(PurePath(os.path.normpath(out)).parent for out in plan.outs)
    for folder in (base / "tmp", work, *(work / PurePath(os.path.normpath(out)).parent for out in plan.outs)):
        folder.mkdir(parents=True, exist_ok=True)
    write_inputs(plan, base)
    write_first_process(base)
    places = {PurePath(os.path.normpath(dep.name)): dep.host.is_dir() for dep in plan.deps if dep.host}
    places |= dict.fromkeys(map(PurePath, INPUTS), False)
    inner = {name: folder for name, folder in places.items() if not parents.isdisjoint([name, *name.parents])}
    for name, is_folder in inner.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            (work / name).mkdir(exist_ok=True)
        else:
            (work / name).touch()
    return Scratch(
        base=base, work=work, parents=tuple(sorted(parents)), placeholders=frozenset(work / name for name in inner)
    )
