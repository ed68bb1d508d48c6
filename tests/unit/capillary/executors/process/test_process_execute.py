import dataclasses
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.executors.process.execute import SYSTEM_FOLDERS, _warn_root, environment_id, environment_of, policy_of
from capillary.executors.process.guard import Guard, UndeclaredAccess
from capillary.executors.sandbox import GUARD, sandbox
from capillary.planning.plan import StagePlan
from tests.support.parts import REPOSITORY

MakePlan = Callable[..., StagePlan]


def may_read(guard: Guard, path: Path | str) -> bool:
    try:
        guard.check_read(path)
    except UndeclaredAccess:
        return False
    return True


def may_write(guard: Guard, path: Path | str) -> bool:
    try:
        guard.check_write(path)
    except UndeclaredAccess:
        return False
    return True


def test_the_environment_is_this_interpreter_on_this_kind_of_machine(make_plan: MakePlan) -> None:
    """A training is not resumed under another one."""
    plan = make_plan()
    assert environment_id(plan.root, plan.stage, plan.access) == [platform.python_version(), platform.machine()]


def test_the_policy_lets_a_stage_read_its_deps_its_interpreter_and_its_credentials(
    make_plan: MakePlan, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that an allowed variable names is meant to be read; the project and other folders are not."""
    key, bundle = tmp_path / "key.json", tmp_path / "ca.crt"
    key.touch()
    bundle.touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(root), str(root / "data")])
    variables = {"CREDENTIALS": str(key), "A": str(tmp_path)}
    plan = make_plan("data/in.txt", environment=variables, user_environment={"SSL_CERT_FILE": str(bundle)})
    readable = (key, bundle, os.__file__, pytest.__file__, sys.executable, root / "data/in.txt", plan.cache_dir / "ab")
    with sandbox(plan) as box:
        guard = Guard(policy_of(plan, box))
        for path in (*readable, *(f"{folder}/x" for folder in SYSTEM_FOLDERS), Path.home() / ".config/x"):
            assert may_read(guard, path), path
        for path in (tmp_path / "beside/x.txt", root / "data/other.txt", root / "dvc.yaml"):
            assert not may_read(guard, path), path


def test_a_stage_that_fails_may_show_the_lines_of_the_guard(make_plan: MakePlan) -> None:
    """Else every failure would tell, next to its reason, that the guard's file may not be read."""
    plan = dataclasses.replace(make_plan("data/in.txt"), root=REPOSITORY, repository=REPOSITORY)
    with sandbox(make_plan("data/in.txt")) as box:
        guard = Guard(policy_of(plan, box))
        assert may_read(guard, GUARD / "hook.py")
        assert not may_read(guard, REPOSITORY / "capillary/planning/plan.py")


def test_a_temporary_experiment_cannot_read_the_repository(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """It has its own workspace; neither is readable but for what is declared."""
    repository = tmp_path / "repository"
    plan = make_plan("data/in.txt", repository=repository)
    with sandbox(plan) as box:
        guard = Guard(policy_of(plan, box))
        assert may_read(guard, root / "data/in.txt")
        assert not may_read(guard, root / "data/other.txt")
        assert not may_read(guard, repository / "module.py")


@pytest.mark.parametrize("network", ["none", "source", "tracking"])
@pytest.mark.parametrize("needs_network", [True, False])
def test_the_policy_is_the_plan_s(make_plan: MakePlan, network: str, needs_network: bool) -> None:
    """Its name, this launcher's number, and its network in this run: none with the embedded store, as a container."""
    access = make_plan().access.model_copy(update={"network": network})
    plan = make_plan(access=access, outs=("data/../data/out",), needs_network=needs_network)
    with sandbox(plan) as box:
        policy = policy_of(plan, box)
        expected = network if needs_network else "none"
        assert (policy.address, policy.network, policy.launcher_pid) == ("toy@a", expected, os.getpid())
        assert (policy.base, policy.work) == (str(box.base), str(box.work))
        assert policy.outs == (str(box.work / "data/out"),)
        assert Path(policy.record).parent == box.base


def test_a_stage_writes_its_outs_and_its_own_folders_alone(make_plan: MakePlan, root: Path) -> None:
    """Not the sandbox around them, where its policy lies."""
    plan = make_plan("data/in.txt", writable=(root / "mlruns",))
    with sandbox(plan) as box:
        guard = Guard(policy_of(plan, box))
        for path in (box.work / "data/out/a", box.tmp / "a", root / "mlruns/a"):
            assert may_write(guard, path), path
        for path in (box.work / "a", box.base / "policy.json", root / "data/in.txt", root / "a", plan.cache_dir / "ab"):
            assert not may_write(guard, path), path


def test_a_dep_that_is_a_link_can_be_read_where_it_leads(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """Under cache.type symlink, or when data is on another disk; what is next to it there stays unseen."""
    (root / "linked.txt").symlink_to(tmp_path / "beside" / "x.txt")
    plan = make_plan("linked.txt")
    with sandbox(plan) as box:
        guard = Guard(policy_of(plan, box))
        assert may_read(guard, (box.work / "linked.txt").resolve())
        assert may_read(guard, root / "linked.txt")
        assert not may_read(guard, tmp_path / "beside" / "y.txt")


def test_writable_folders_may_be_links(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """mlruns on another disk."""
    (tmp_path / "disk").mkdir()
    (root / "mlruns").symlink_to(tmp_path / "disk")
    plan = make_plan(writable=(root / "mlruns",))
    with sandbox(plan) as box:
        guard = Guard(policy_of(plan, box))
        assert may_write(guard, root / "mlruns/artifacts/x")
        assert may_write(guard, tmp_path / "disk/artifacts/x")
        assert may_read(guard, tmp_path / "disk/artifacts/x")
        assert not may_write(guard, tmp_path / "other/x")


def test_a_stage_has_its_own_folders_for_caches_and_temporary_files(make_plan: MakePlan) -> None:
    """Nothing of the launcher's environment but what the plan names."""
    plan = make_plan(threads=3, environment={"LANG": "C"}, user_environment={"PATH": "/bin", "LANG": "de"})
    with sandbox(plan) as box:
        variables = environment_of(plan, box)
        assert variables["OMP_NUM_THREADS"] == "3"
        assert 0 < int(variables["GOMP_SPINCOUNT"]) < 10_000
        assert {variables[name] for name in ("TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR")} == {str(box.tmp)}
        first, second = variables["PYTHONPATH"].split(os.pathsep)
        assert (Path(first) / "sitecustomize.py").is_file()
        assert second == str(box.work)
        assert (variables["PATH"], variables["LANG"]) == ("/bin", "C")
        assert (variables["PYTHONDONTWRITEBYTECODE"], variables["PYTHONUNBUFFERED"]) == ("1", "1")
        assert "HOME" not in variables


@pytest.mark.parametrize(("uid", "said"), [(0, 1), (1000, 0)])
def test_root_is_told_once_in_a_run_that_the_guard_is_no_wall(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uid: int, said: int
) -> None:
    """Not once for each stage and cell; nobody else is told."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    for _ in range(3):
        _warn_root(make_plan())
    out = capsys.readouterr().out
    assert out.count("cannot restrain root") == said
    assert out.count("CAPILLARY_EXECUTOR=docker") == said
