"""dvc.yaml as DVC itself reads it: the entry behind DVC_ROOT and DVC_STAGE."""

import filecmp
import functools
import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import CheckoutError, DvcException
from dvc.repo import Repo
from dvc.scm import NoSCM
from dvc.stage.cache import RunCacheNotFoundError, _can_hash, _get_stage_hash
from dvc.stage.exceptions import StageNotFound
from dvc.stage.serialize import to_single_stage_lockfile

from capillary.dvc.claim import RunClaim
from capillary.dvc.repository import file_deps
from capillary.integrity.delivered import Delivered
from capillary.yaml_file import read_yaml
from stages.common.errors import ParamsError, UsageError


class Entry:
    """One stage of dvc.yaml, resolved by DVC (matrix, templates, lock file)."""

    def __init__(self, root: Path, address: str) -> None:
        """Load `address` (`train@dice_ce-0`) of the workspace `root`; CapillaryError when DVC does not find it."""
        try:
            self._stage = Repo(str(root)).stage.load_one(path=str(root / "dvc.yaml"), name=address)
        except StageNotFound as error:
            raise UsageError(
                f"dvc.yaml has no stage {address}",
                file=root / "dvc.yaml",
                remedy="run the stage through dvc repro; `dvc stage list` shows the names",
            ) from error
        except DvcException as error:
            raise UsageError(
                f"DVC cannot read the entry {address}: {error}",
                file=root / "dvc.yaml",
                remedy="correct what DVC names; `dvc stage list` shows whether DVC can read the entry",
            ) from error

    @property
    def commands(self) -> list[str]:
        """The entry's cmd, a list."""
        cmd = self._stage.cmd
        return cmd if isinstance(cmd, list) else cmd.splitlines()

    @property
    def deps(self) -> list[str]:
        """Declared deps as written: paths relative to the workspace, absolute paths, URLs."""
        return [dep.def_path for dep in self._files()]

    def made_deps(self) -> list[str]:
        """Those of the deps that another entry of the graph makes, in whole or in part."""
        others = (
            each for each in self._stage.repo.index.stages if each.cmd and each.addressing != self._stage.addressing
        )
        made = [Path(out.fs_path) for other in others for out in other.outs]
        return [dep.def_path for dep in self._files() if any(_overlap(Path(dep.fs_path), out) for out in made)]

    def holder_of(self, folder: Path) -> tuple[str, str] | None:
        """(the dep or out of any entry that `folder` is in, that entry's address); None if it is in none."""
        for stage in self._stage.repo.index.stages:
            held = (each for each in (*file_deps(stage), *stage.outs) if each.protocol == "local")
            if found := next((each for each in held if folder.is_relative_to(each.fs_path)), None):
                return found.def_path, stage.addressing
        return None

    def strays(self) -> list[Path]:
        """Files that a clone of this workspace would lack, though the hash of a dep of this entry counts them.

        They are in a dep that is a folder of other entries' outs, such as all model cards, but no entry makes them and
        Git does not track them. Most often they are outs of an item that a matrix lost; its other outs are listed too.
        If there is no Git, they alone are: nobody can tell what else came with the project.
        """
        repo = self._stage.repo
        outs = {Path(out.fs_path) for out in repo.index.outs}
        if not self._shared:
            return []  # a training, for one: it reads no dvc.lock that another process may be writing
        looked_at = () if isinstance(repo.scm, NoSCM) else self._shared
        lying = (Path(name) for folder in looked_at for name in repo.dvcignore.find(repo.fs, str(folder)))
        lost = (file for out in self._lost_outs for file in _files_of(out))
        unmade = {file for file in (*lying, *lost) if not any(file.is_relative_to(out) for out in outs)}
        return sorted(file for file in unmade if not self._is_for_git(file))

    def is_kept(self, file: Path) -> bool:
        """Whether an item that a matrix lost made `file`, one of the strays, and DVC's cache still has its content.

        A copy that somebody made of an out has a name that no record holds, though the cache has its content.
        """
        return any(file.is_relative_to(out) for out in self._lost_outs) and self.is_cached(file)

    @functools.cached_property
    def _shared(self) -> list[Path]:
        """The deps that are folders of other entries' outs."""
        outs = {Path(out.fs_path) for out in self._stage.repo.index.outs}
        return [Path(dep.fs_path) for dep in self._files() if _is_shared(Path(dep.fs_path), outs)]

    @functools.cached_property
    def _lost_outs(self) -> list[Path]:
        """Outs of items in dvc.lock that their matrix no longer has, if they made something in a shared dep.

        Those in the workspace alone: what is elsewhere may be in use by others. A matrix may have lost all its items.
        """
        root = Path(self._stage.wdir)
        present = {stage.name for stage in self._stage.repo.index.stages if stage.cmd}
        entries, lock = read_yaml(root / "dvc.yaml").get("stages") or {}, root / "dvc.lock"
        recorded = (read_yaml(lock).get("stages") or {}) if lock.is_file() else {}
        lost = []
        for name, entry in recorded.items():
            if "@" in name and name not in present and name.split("@")[0] in entries:
                outs = [Path(os.path.normpath(root / out["path"])) for out in entry.get("outs", [])]
                if any(out.is_relative_to(folder) for out in outs for folder in self._shared):
                    lost += outs
        return [place for place in lost if root in place.parents]

    def _is_for_git(self, file: Path) -> bool:
        """Whether a clone gets `file` from Git, or will: DVC itself writes such files, which the user commits."""
        scm = self._stage.repo.scm
        is_dvcs = file.name == ".gitignore" or file.suffix == ".dvc"
        return is_dvcs or (not isinstance(scm, NoSCM) and bool(scm.is_tracked(str(file))))

    def is_cached(self, file: Path) -> bool:
        """Whether DVC's cache holds the content of `file`, compared byte by byte."""
        if not file.is_file():
            return False  # a pipe, or a link to what is gone
        with file.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        kept = Path(self._stage.repo.cache.local.oid_to_path(md5))
        return kept.is_file() and filecmp.cmp(kept, file, shallow=False)

    @property
    def outs(self) -> list[str]:
        """Declared outs, metrics and plots, relative to the workspace."""
        return [out.def_path for out in self._stage.outs]

    @property
    def cache_dir(self) -> Path:
        """DVC's local cache."""
        return Path(self._stage.repo.cache.local.path)

    def params(self) -> dict[str, Any]:
        """Declared params only, nested as in params.yaml; ParamsError for a key that params.yaml lacks."""
        nested: dict[str, Any] = {}
        for dep in self._stage.deps:
            if not isinstance(dep, ParamsDependency):
                continue
            values = dep.read_params()
            for key in dep.params:
                if key not in values:
                    raise ParamsError(
                        f"params.yaml has no key `{key}`, which {self._stage.name} declares",
                        remedy=f"set `{key}` in params.yaml",
                        file="params.yaml",
                    )
                _put(nested, key, values[key])
        return nested

    def dep_hashes(self) -> dict[str, str]:
        """DVC's hash of every dep as it is now (files that did not change are not read again)."""
        return {dep.def_path: str(dep.get_hash().value) if dep.exists else "missing" for dep in self._files()}

    def delivered(self) -> Iterator[Delivered]:
        """The files among its deps that are in outs which DVC's cache keeps, as DVC takes them to be now."""
        stages = self._stage.repo.index.stages
        outs = [(stage, out) for stage in stages for out in stage.outs if out.use_cache and out.protocol == "local"]
        for dep in self._files():
            near = [(stage, out) for stage, out in outs if _overlap(Path(dep.fs_path), Path(out.fs_path))]
            if near and dep.exists:
                yield from _delivered(dep, near)

    def is_recorded(self) -> bool:
        """Whether dvc.lock has a run of this entry with the deps and params that it has now."""
        return not self._stage.cmd_changed and not any(dep.status() for dep in self._stage.deps)

    def is_due(self) -> bool:
        """Whether `dvc repro` would run the command: something changed, and the run cache does not have the outs."""
        with self._stage.repo.lock:
            return bool(self._stage.changed()) and not self._is_in_run_cache()

    def _is_in_run_cache(self) -> bool:
        stage = self._stage
        if stage.changed_stage() or not stage.deps_cached():
            stage.save_deps()  # in memory: the run cache is asked for deps as they are
            stage.cmd_changed = True  # so that it is not the outs of dvc.lock, which come from others
        try:
            stage.repo.stage_cache.restore(stage, dry=True)
        except RunCacheNotFoundError:
            return False
        return True

    def claim(self) -> RunClaim | None:
        """What a run cache knows a run of this entry by, with deps and params as they are now; None where DVC keeps no
        run: a dep is a URL, or an out stays in place.
        """
        stage, is_recorded = self._stage, self.is_recorded()
        is_here = all(not out.changed_cache() for out in stage.outs if out.use_cache)
        recorded = {out.def_path: out.hash_info for out in stage.outs if is_recorded and out.hash_name == "md5"}
        stage.save_deps()
        if not _can_hash(stage):
            return None
        record = to_single_stage_lockfile(stage)
        return RunClaim(
            address=stage.addressing,
            key=_get_stage_hash(stage),
            cmd=record["cmd"],
            deps=[dict(dep) for dep in record["deps"]],
            params={file: dict(values) for file, values in record.get("params", {}).items()},
            outs=tuple(out.def_path for out in stage.outs),
            recorded={name: str(found.value) for name, found in recorded.items() if found},
            is_wanted=not (is_recorded and is_here),
        )

    def restore_outs(self) -> list[str]:
        """Put back the outs that dvc.lock knows and the cache holds; DVC removed them before it started the stage."""
        restored = []
        for out in self._stage.outs:
            if out.exists or not out.hash_info or not out.use_cache:
                continue
            try:
                out.checkout(force=True)
            except (CheckoutError, FileNotFoundError):
                # not in the cache, or not whole: half an out is worse than none
                out.remove()
                continue
            restored.append(out.def_path)
        return restored

    def _files(self) -> Iterator[Any]:
        return (dep for dep in self._stage.deps if not isinstance(dep, ParamsDependency))


def _delivered(dep: Any, outs: Sequence[tuple[Any, Any]]) -> Iterator[Delivered]:
    """The files of `dep` that are in one of `outs`, each of which comes with its stage."""
    cache, place = dep.repo.cache.local, Path(dep.fs_path)
    # as Output.get_hash, which keeps the hash of a whole folder only
    _, _, found = dep._build(cache, dep.fs_path, dep.fs, dep.hash_name, ignore=dep.dvcignore, dry_run=True)
    if found.hash_info.isdir:
        listed = [(place.joinpath(*key), info) for key, _, info in found]
    else:
        listed = [(place, found.hash_info)]
    for file, info in listed:
        holder = next(((stage, out) for stage, out in outs if file.is_relative_to(out.fs_path)), None)
        if holder is not None and info.name == "md5":
            stage, out = holder
            yield Delivered(
                file=file,
                md5=info.value,
                cached=Path(cache.oid_to_path(info.value)),
                out=os.path.relpath(out.fs_path, dep.repo.root_dir),
                maker=stage.addressing if stage.cmd else None,
            )


def _put(nested: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        nested = nested.setdefault(section, {})
    nested[last] = value


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _is_shared(dep: Path, outs: Collection[Path]) -> bool:
    """Whether `dep` is a folder that holds outs and is neither one itself nor a part of one."""
    return any(dep in out.parents for out in outs) and not any(dep.is_relative_to(out) for out in outs)


def _files_of(out: Path) -> Iterator[Path]:
    """`out` itself, or the files in it; nothing if it is gone."""
    if os.path.lexists(out) and not out.is_dir():
        yield out
    for parent, _, files in os.walk(out):
        yield from (Path(parent, name) for name in files)
