import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.launcher.access import StageAccess
from capillary.launcher.plan import Dep, Fingerprint, StagePlan

MakePlan = Callable[..., StagePlan]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with a dep, a file that no stage declares, and a sibling folder."""
    root = tmp_path / "my project"
    for name in ("data/in.txt", "data/other.txt", "stages/__init__.py", "../beside/x.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture
def make_plan(root: Path) -> MakePlan:
    """A plan in `root` with the given deps (names) and whatever else shall differ."""

    def make(*deps: str, **changes: object) -> StagePlan:
        plan = StagePlan(
            stage="toy",
            address="toy@a",
            argv=(),
            root=root,
            repository=root,
            deps=tuple(Dep(name=name, host=_host(root, name)) for name in deps),
            dep_hashes=dict.fromkeys(deps, "hash"),
            outs=("data/out",),
            cache_dir=root / ".dvc" / "cache" / "files" / "md5",
            params={"toy": {"times": 1}},
            access=StageAccess(
                network="none", env=(), resume=False, gpu="none", memory_gb=None, pids=256, shm_gb=0.0625
            ),
            fingerprint=Fingerprint(data="d", code="c", whole="w"),
            environment={"CAPILLARY_THREADS": "2"},
            user_environment={},
            needs_network=False,
            state_dir=root / ".capillary" / "state" / "toy",
            writable=(),
            grace_s=1.0,
        )
        return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]  # names and types are the test's own

    return make


def _host(root: Path, name: str) -> Path | None:
    return None if "://" in name else Path(os.path.normpath(root / name))
