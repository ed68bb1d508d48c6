import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.launcher.guard import Guard, UndeclaredAccess
from capillary.launcher.plan import StagePlan
from capillary.launcher.process import environment_of, policy_of
from capillary.launcher.sandbox import sandbox

MakePlan = Callable[..., StagePlan]


def test_the_policy_lets_a_stage_read_its_deps_its_interpreter_and_its_credentials(
    make_plan: MakePlan, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that an allowed variable names is meant to be read; the project and other folders are not."""
    key = tmp_path / "key.json"
    key.touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(root), str(root / "data")])
    plan = make_plan("data/in.txt", environment={"CAPILLARY_THREADS": "1", "CREDENTIALS": str(key), "A": str(tmp_path)})
    with sandbox(plan) as box:
        guard = Guard(policy_of(plan, box))
        for path in (key, os.__file__, pytest.__file__, sys.executable, root / "data/in.txt", plan.cache_dir / "ab"):
            guard.check_read(path)
        for path in (tmp_path / "beside/x.txt", root / "data/other.txt"):
            with pytest.raises(UndeclaredAccess):
                guard.check_read(path)


def test_a_dep_that_is_a_link_can_be_read_where_it_leads(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """Under cache.type symlink, or when data lies on another disk."""
    (root / "linked.txt").symlink_to(tmp_path / "beside" / "x.txt")
    plan = make_plan("linked.txt")
    with sandbox(plan) as box:
        guard = Guard(policy_of(plan, box))
        guard.check_read((box.work / "linked.txt").resolve())


def test_writable_folders_may_be_links(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """mlruns on another disk."""
    (tmp_path / "disk").mkdir()
    (root / "mlruns").symlink_to(tmp_path / "disk")
    plan = make_plan(writable=(root / "mlruns",))
    with sandbox(plan) as box:
        guard = Guard(policy_of(plan, box))
        guard.check_write(root / "mlruns/artifacts/x")
        guard.check_read(tmp_path / "disk/artifacts/x")


def test_a_stage_has_its_own_folders_for_caches_and_temporary_files(make_plan: MakePlan) -> None:
    """Nothing of the launcher's environment but what the plan names."""
    plan = make_plan(environment={"CAPILLARY_THREADS": "3", "LANG": "C"})
    with sandbox(plan) as box:
        variables = environment_of(plan, box)
        assert variables["OMP_NUM_THREADS"] == "3"
        assert 0 < int(variables["GOMP_SPINCOUNT"]) < 10_000
        assert {variables[name] for name in ("TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR")} == {str(box.tmp)}
        first, second = variables["PYTHONPATH"].split(os.pathsep)
        assert (Path(first) / "sitecustomize.py").is_file()
        assert second == str(box.work)
        assert "HOME" not in variables
