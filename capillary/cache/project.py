"""The stages of a project as they are now, for comparison with recorded results."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from capillary.cache.recorded import Recorded, in_lock_file, in_run_cache, merged
from capillary.dvc.repository import file_deps, open_repository
from capillary.planning.access import stage_of
from capillary.planning.plan import CODE_FOLDER


@dataclass(frozen=True, kw_only=True)
class CurrentEntry:
    """One entry of dvc.yaml, resolved. `code` has the hashes of its deps below stages/. `is_reproducible` is False for
    an entry with a URL among its deps, or an out that DVC keeps in place: its record does not decide its result.
    """

    address: str
    stage: str  # `train` of `train@dice_ce-0`
    cmd: tuple[str, ...]
    code: dict[str, str]
    outs: frozenset[str]
    is_reproducible: bool

    def made(self, record: Recorded) -> bool:
        """Whether `record` is of this entry with the code that it has now."""
        if record.cmd != self.cmd or record.outs.keys() != self.outs:
            return False
        return {name: digest for name, digest in record.deps.items() if _is_code(name)} == self.code


class Project:
    """The workspace `root` as DVC reads it; `cache` is the folder that holds content by its hash."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._repo = open_repository(root)
        self.cache = Path(self._repo.cache.local.path)
        self._stages = [stage for stage in self._repo.index.stages if stage.cmd]
        self._deps = {
            dep.def_path: dep for stage in self._stages for dep in file_deps(stage) if dep.protocol == "local"
        }
        self._hashes: dict[str, str] = {}

    def stages(self) -> list[CurrentEntry]:
        """All entries, in DVC's order."""
        return [self._present(stage) for stage in self._stages]

    def records(self, stages: Sequence[CurrentEntry]) -> list[Recorded]:
        """The recorded results of `stages` with the code that they have now."""
        records = [*in_lock_file(self.root), *in_run_cache(Path(self._repo.cache.legacy.path))]
        owned = (
            replace(record, address=present.address)
            for record in records
            for present in stages
            if record.address in ("", present.address) and present.made(record)
        )
        return merged(owned)

    def hash_of(self, dep: str) -> str:
        """DVC's hash of a dep as it is in the workspace; empty when it is not there."""
        if dep not in self._hashes:
            found = self._deps.get(dep)
            self._hashes[dep] = str(found.get_hash().value) if found is not None and found.exists else ""
        return self._hashes[dep]

    def _present(self, stage: Any) -> CurrentEntry:
        cmd, deps = stage.cmd, file_deps(stage)
        outs = stage.outs
        return CurrentEntry(
            address=stage.addressing,
            stage=stage_of(self.root, stage.addressing),
            cmd=tuple(cmd if isinstance(cmd, list) else cmd.splitlines()),
            code={dep.def_path: self.hash_of(dep.def_path) for dep in deps if _is_code(dep.def_path)},
            outs=frozenset(out.def_path for out in outs),
            is_reproducible=all(dep.protocol == "local" for dep in deps) and not any(out.persist for out in outs),
        )


def _is_code(name: str) -> bool:
    return name.split("/")[0] == CODE_FOLDER
