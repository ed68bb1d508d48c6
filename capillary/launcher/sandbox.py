"""The folder in which a stage runs as a plain process: declared deps as links, declared params, room for the outs.

.capillary/sandbox/<address>-<pid of the launcher>/
    tmp/                    the stage's temporary files
    [up/…/]work/            the stage's working folder: paths mean here what they mean in the workspace
        data/raw -> …       one link a dep
        params.yaml         declared keys only
        models/dice_ce/     parents of outs; the outs themselves are the stage's to make
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import psutil
import yaml

from capillary.launcher.plan import Dep, StagePlan
from stages.common.errors import CapillaryError, ExitCode


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A laid sandbox."""

    base: Path
    work: Path
    tmp: Path


@contextlib.contextmanager
def sandbox(plan: StagePlan) -> Iterator[Sandbox]:
    """Lay a sandbox for `plan`, and remove it with all that was not published when the block ends."""
    parent = plan.repository / ".capillary" / "sandbox"
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    base = parent / f"{plan.address}-{os.getpid()}"
    base.mkdir()
    try:
        yield _lay(plan, base)
    finally:
        shutil.rmtree(base)


def _sweep(parent: Path) -> None:
    """Remove what launchers that were killed left behind."""
    for left in parent.iterdir():
        pid = left.name.rpartition("-")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)  # a launcher beside this one may be sweeping too


def _lay(plan: StagePlan, base: Path) -> Sandbox:
    # as deep as the furthest `..` of a dep reaches, so that ../x in the workspace is ../x in here
    work = base.joinpath(*["up"] * max((_climbs(dep.name) for dep in plan.deps), default=0), "work")
    tmp = base / "tmp"
    work.mkdir(parents=True)
    tmp.mkdir()
    for dep in plan.deps:
        _link(dep, work)
    for out in plan.outs:
        (work / out).parent.mkdir(parents=True, exist_ok=True)
    (work / "params.yaml").write_text(yaml.safe_dump(dict(plan.params)))
    return Sandbox(base=base, work=work, tmp=tmp)


def _climbs(name: str) -> int:
    return PurePath(os.path.normpath(name)).parts.count("..") if "://" not in name else 0


def _link(dep: Dep, work: Path) -> None:
    if dep.host is None or PurePath(dep.name).is_absolute():
        return
    link = Path(os.path.normpath(work / dep.name))
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(dep.host, target_is_directory=dep.host.is_dir())


def publish(plan: StagePlan, box: Sandbox) -> None:
    """Move every out of `plan` from the sandbox into the workspace, each whole; raises when one was not made."""
    for out in plan.outs:
        if not (box.work / out).exists():
            raise CapillaryError(
                f"{plan.address} ended without its out {out}",
                file=out,
                remedy="write it in the stage, or remove it from the entry in dvc.yaml",
                code=ExitCode.UNEXPECTED,
            )
    for number, out in enumerate(plan.outs):
        _replace(box.work / out, plan.root / out, box.base / f"former-{number}")


def _replace(source: Path, target: Path, former: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    ready = _beside(source, target)
    if target.exists():
        _move(target, former)
    ready.rename(target)


def _beside(source: Path, target: Path) -> Path:
    """`source` under a path from which it can be renamed to `target` in one step: itself, or a copy."""
    if source.stat().st_dev == target.parent.stat().st_dev:
        return source
    copy = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copy2(source, copy)
    return copy


def _move(target: Path, former: Path) -> None:
    try:
        target.rename(former)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.rmtree(target) if target.is_dir() else target.unlink()
