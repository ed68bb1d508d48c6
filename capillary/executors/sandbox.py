"""The folder in which a stage runs as a plain process: declared deps as links, declared params, room for the outs.

.capillary/sandbox/<address>-<random>/
    lock                    held by the launcher while it lives
    tmp -> …                the stage's temporary files, in the user's own TMPDIR
    guard/                  the guard, which the Python processes that the stage starts load, too
    files/[…/]<workspace>/  the stage's working folder: paths mean here what they mean in the workspace
        data/raw -> …       one link a dep
        params.yaml         declared keys only
        order.json          how this run is to be done (stages/common/runtime.py)
        models/dice_ce/     parents of outs; the outs themselves are the stage's to make
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, TypeVar

import yaml

from capillary.planning.plan import Dep, StagePlan
from capillary.publishing.remove_tree import remove_tree
from stages.common.lifetimes.locks import NoLocksError, locked, take
from stages.common.params import PARAMS_FILE
from stages.common.runtime import ORDER_FILE, order_json

_TMP_PREFIX = "capillary-"
GUARD = Path(__file__).parent / "process" / "guard"
GUARD_MODULE = "capillary_guard"  # its name in the sandbox, where the tool itself is not to be seen
AnyPath = TypeVar("AnyPath", bound=PurePath)


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A laid sandbox; every path is a real one, without links."""

    base: Path
    work: Path
    tmp: Path


@contextlib.contextmanager
def sandbox(plan: StagePlan) -> Iterator[Sandbox]:
    """Lay a sandbox for `plan`, and remove it with all that was not published when the block ends."""
    with own_folder(plan.repository, plan.address) as base:
        yield _lay(plan, base)


@contextlib.contextmanager
def own_folder(repository: Path, address: str) -> Iterator[Path]:
    """An empty folder for a run of the entry `address`, with a lock that is held in the block; removed at its end.

    Sweeps what launchers that were killed left behind.
    """
    parent = _parent(repository)
    with _alone(parent):
        _sweep(parent)
        base = Path(tempfile.mkdtemp(prefix=f"{address.replace('/', '-')}-", dir=parent))
        lock = _lock(base / "lock")
    try:
        yield base
    finally:
        _remove(base)
        if lock is not None:
            lock.close()


def sweep(repository: Path) -> None:
    """Remove what killed launchers left behind in the project."""
    parent = _parent(repository)
    with _alone(parent):
        _sweep(parent)


def _parent(repository: Path) -> Path:
    folder = repository / ".capillary" / "sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _alone(parent: Path) -> contextlib.AbstractContextManager[None]:
    """No other launcher sweeps within the block: a new folder's lock is held when the block ends.

    A disk without locks does no harm: nothing is swept there, see _lock.
    """
    return locked(parent.with_name("sandbox.lock"), or_go_on=True)


def _lock(file: Path) -> IO[bytes] | None:
    """`file`, open and locked as long as this process lives; None when another holds it or the disk has no locks."""
    try:
        return take(file)
    except NoLocksError:
        return None


def is_held(base: Path) -> bool:
    """Whether the launcher that made the folder `base` still lives."""
    try:
        lock = _lock(base / "lock")
    except FileNotFoundError:
        return False
    if lock is None:
        return True
    lock.close()
    return False


def _sweep(parent: Path) -> None:
    """Remove what launchers that were killed left behind."""
    for left in parent.iterdir():
        try:
            lock = _lock(left / "lock")
        except OSError:
            continue  # its launcher removes it just now, it is not a sandbox, or nobody can say whose it is (a link)
        if lock is not None:
            _remove(left)
            lock.close()


def _remove(base: Path) -> None:
    tmp = base / "tmp"
    if tmp.is_symlink() and tmp.readlink().name.startswith(_TMP_PREFIX):
        remove_tree(tmp.readlink(), may_stay=True)
    remove_tree(base, may_stay=True)  # what a dying process still makes in it is left to the next sweep


def _lay(plan: StagePlan, base: Path) -> Sandbox:
    work = base / "files" / folder_names(plan)
    work.mkdir(parents=True)
    # not in here: multiprocessing keeps sockets in it, whose whole path may have 107 characters
    tmp = Path(tempfile.mkdtemp(prefix=_TMP_PREFIX)).resolve()
    (base / "tmp").symlink_to(tmp)
    (base / "guard").mkdir()
    (base / "guard" / "sitecustomize.py").symlink_to(GUARD / "sitecustomize.py")
    (base / "guard" / GUARD_MODULE).symlink_to(GUARD)
    for link, place in links_of(plan.deps, work).items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(place)
    for out in plan.outs:
        (work / out).parent.mkdir(parents=True, exist_ok=True)
    write_inputs(plan, work)
    return Sandbox(base=base, work=work, tmp=tmp)


def write_inputs(plan: StagePlan, folder: Path) -> None:
    """Write params.yaml and order.json of `plan` into `folder`."""
    (folder / PARAMS_FILE).write_text(yaml.safe_dump(dict(plan.params)))
    (folder / ORDER_FILE).write_bytes(order_json(plan.order))
    (folder / ORDER_FILE).chmod(0o444)


def folder_names(plan: StagePlan) -> Path:
    """As deep as the furthest `..` of a dep reaches, under the folders' own names, so that ../x here is ../x there."""
    depth = 1 + max((_climbs(dep.name) for dep in plan.deps), default=0)
    names = plan.root.parts[1:][-depth:]
    return Path(*["up"] * (depth - len(names)), *names)


def _climbs(name: str) -> int:
    return PurePath(os.path.normpath(name)).parts.count("..") if "://" not in name else 0


def links_of(deps: Iterable[Dep], work: Path) -> dict[Path, Path]:
    """Link in the sandbox → place, for every dep with a relative path, except those inside another dep."""
    places = {
        Path(os.path.normpath(dep.name)): dep.host for dep in deps if dep.host and not PurePath(dep.name).is_absolute()
    }
    return {Path(os.path.normpath(work / name)): places[name] for name in outermost(places)}


def outermost(names: Iterable[AnyPath]) -> set[AnyPath]:
    """Those of `names` that do not be in another of them."""
    every = set(names)
    return {name for name in every if every.isdisjoint(name.parents)}
