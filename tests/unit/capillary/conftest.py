import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from capillary.planning.access import StageAccess
from capillary.planning.plan import Dep, StagePlan
from stages.common.runtime import Compute, StageOrder
from tests.support.orders import change_plan

MakePlan = Callable[..., StagePlan]
ORDER = StageOrder(
    stage="toy@a",
    fingerprint="w",
    data_fingerprint="d",
    code_fingerprint="c",
    compute=Compute(workers=2, threads=2),
)


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
    """A plan in `root` with the given deps (names) and whatever else of it or of its order shall differ."""

    def make(*deps: str, **changes: object) -> StagePlan:
        plan = StagePlan(
            stage="toy",
            order=ORDER,
            argv=(),
            root=root,
            repository=root,
            deps=tuple(Dep(name=name, host=_host(root, name)) for name in deps),
            dep_hashes=dict.fromkeys(deps, "hash"),
            outs=("data/out",),
            params={"toy": {"times": 1}},
            access=StageAccess(
                network="none", env=(), resume=False, gpu="none", memory_gb=None, pids=256, shm_gb=0.0625
            ),
            environment={},
            user_environment={},
            needs_network=False,
            writable=(),
            grace_s=1.0,
        )
        own = {"state_dir": root / ".capillary/state/toy", "cache_dir": root / ".dvc/cache/files/md5"}
        return change_plan(plan, **{**own, **changes})

    return make


def _host(root: Path, name: str) -> Path | None:
    return None if "://" in name else Path(os.path.normpath(root / name))


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Requests to stop as in a terminal's foreground: nohup, or a shell's `&`, may have these tests ignore them."""
    defaults = {signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    former = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    former[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in former.items():
        signal.signal(number, handler)
