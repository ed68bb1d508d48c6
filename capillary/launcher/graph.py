"""dvc.yaml as DVC itself reads it: the entry behind DVC_ROOT and DVC_STAGE. Beside capillary.experiments.forecast
the one module that imports dvc.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import CheckoutError, DvcException
from dvc.repo import Repo
from dvc.stage.exceptions import StageNotFound

from stages.common.errors import CapillaryError, ExitCode, ParamsError


class Entry:
    """One stage of dvc.yaml, resolved by DVC (matrix, templates, lock file)."""

    def __init__(self, root: Path, address: str) -> None:
        """Load `address` (`train@dice_ce-0`) of the workspace `root`; CapillaryError when DVC does not find it."""
        try:
            self._stage = Repo(str(root)).stage.load_one(path=str(root / "dvc.yaml"), name=address)
        except StageNotFound as error:
            raise CapillaryError(
                f"dvc.yaml has no stage {address}",
                file=root / "dvc.yaml",
                remedy="run the stage through dvc repro; `dvc stage list` shows the names",
                code=ExitCode.USAGE,
            ) from error
        except DvcException as error:
            raise CapillaryError(
                f"DVC cannot read the entry {address}: {error}",
                file=root / "dvc.yaml",
                remedy="correct what DVC names; `dvc stage list` shows whether it reads the entry",
                code=ExitCode.USAGE,
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

    def is_recorded(self) -> bool:
        """Whether dvc.lock has a run of this entry with the deps and params that it has now."""
        return not self._stage.cmd_changed and not any(dep.status() for dep in self._stage.deps)

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


def _put(nested: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        nested = nested.setdefault(section, {})
    nested[last] = value


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
