import dataclasses
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.executors.sandbox import folder_names, is_held, links_of, own_folder, sandbox, sweep
from capillary.planning.plan import INPUTS, Dep, StagePlan
from stages.common.runtime import read_order
from tests.support.parts import REPOSITORY

MakePlan = Callable[..., StagePlan]


def test_the_working_folder_holds_what_is_declared(make_plan: MakePlan, root: Path) -> None:
    """Deps by their relative path, the declared params, parents of outs; not the outs, and nothing else."""
    plan = make_plan("data/in.txt", "stages", outs=("data/out", "models/a b/fold.json"))
    with sandbox(plan) as box:
        found = {str(path.relative_to(box.work)) for path in box.work.rglob("*")}
        assert found == {"data", "data/in.txt", "stages", *INPUTS, "models", "models/a b"}
        assert (box.work / "data/in.txt").read_text() == "data/in.txt"
        assert (box.work / "params.yaml").read_text() == "toy:\n  times: 1\n"
        assert read_order(box.work / "order.json") == plan.order
        assert (box.work / "order.json").stat().st_mode & 0o777 == 0o444
        assert box.tmp.is_dir()
        base = box.base
    assert not base.exists()
    assert not box.tmp.exists()


@pytest.mark.parametrize("name", ["../beside/x.txt", "../beside", "../../{top}/beside/x.txt", "../work", "../up/x"])
def test_paths_mean_in_there_what_they_mean_in_the_workspace(make_plan: MakePlan, root: Path, name: str) -> None:
    """A dep next to or above the workspace is found by the path that dvc.yaml has, whatever its name."""
    name = name.replace("{top}", root.parent.name)
    if not (root / name).exists():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("content")
    with sandbox(make_plan(name, "data/in.txt")) as box:
        inner = Path(os.path.normpath(box.work / name))
        assert inner.is_relative_to(box.base)
        assert inner.samefile(root / name)
        assert (box.work / "data/in.txt").is_file()


def test_an_absolute_dep_needs_no_link(make_plan: MakePlan, root: Path) -> None:
    """It is read where it lies."""
    with sandbox(make_plan(str(root.parent / "beside" / "x.txt"))) as box:
        assert {path.name for path in box.work.rglob("*")} == {"data", *INPUTS}


def test_a_url_needs_no_link(make_plan: MakePlan) -> None:
    """Nothing of it is on this disk."""
    with sandbox(make_plan("s3://bucket/stacks")) as box:
        assert not (box.work / "s3:").exists()


def test_deps_may_lie_in_each_other(make_plan: MakePlan, root: Path) -> None:
    """DVC takes a folder and a file in it; one link serves both, and the workspace gets none."""
    plan = make_plan("data/in.txt", "data", "./data/in.txt")
    assert list(links_of(plan.deps, Path("/w"))) == [Path("/w/data")]
    with sandbox(make_plan("data/in.txt", "data", outs=("out",))) as box:
        assert (box.work / "data").is_symlink()
    assert not (root / "data/in.txt").is_symlink()


def test_an_address_with_a_slash_is_one_folder(make_plan: MakePlan) -> None:
    """A matrix item may be a path."""
    with sandbox(make_plan(address="toy@a/b")) as box:
        assert box.base.parent.name == "sandbox"


def test_what_the_stage_left_is_removed_even_if_it_may_not_be_changed(make_plan: MakePlan) -> None:
    """A read-only folder in it is not an obstacle, and what a dep's link leads to keeps its mode."""
    with sandbox(make_plan("data")) as box:
        locked = box.tmp / "a" / "b"
        locked.mkdir(parents=True)
        (locked / "x").touch()
        locked.chmod(0o500)
        locked.parent.chmod(0o500)
        base, tmp = box.base, box.tmp
    assert not base.exists()
    assert not tmp.exists()


def test_multiprocessing_finds_room_for_its_sockets(make_plan: MakePlan, tmp_path: Path) -> None:
    """A socket's whole path may have 107 characters: the temporary folder must not lie deep in the workspace."""
    deep = tmp_path / ("long" * 30)
    deep.mkdir()
    with sandbox(make_plan(root=deep, repository=deep)) as box:
        assert len(str(box.tmp / "pymp-12345678" / "listener-12345678")) < 107


def test_the_user_s_own_temporary_folder_is_used(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster TMPDIR is the fast local disk."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with sandbox(make_plan()) as box:
        assert box.tmp.parent == tmp_path


def test_a_capillary_folder_on_another_disk_is_followed(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """Whoever links .capillary elsewhere gets real paths in the policy."""
    (tmp_path / "elsewhere").mkdir()
    (root / ".capillary").symlink_to(tmp_path / "elsewhere")
    with sandbox(make_plan()) as box:
        assert box.work.is_relative_to(tmp_path / "elsewhere")


HOLDER = """
import sys, time
from pathlib import Path
from capillary.executors import sandbox as boxes
parent = Path(sys.argv[1])
base = parent / "other-1"
(base / "files").mkdir(parents=True)
lock = boxes._lock(base / "lock")
print("held", flush=True)
time.sleep(60)
"""


def test_a_living_launcher_s_sandbox_is_left_alone_and_a_killed_one_s_removed(make_plan: MakePlan, root: Path) -> None:
    """Also where process numbers say nothing: in another container, or on another machine."""
    parent = root / ".capillary" / "sandbox"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with sandbox(make_plan()):
            assert (parent / "other-1" / "files").is_dir()
    finally:
        holder.kill()
        holder.wait()
    with sandbox(make_plan()):
        assert not (parent / "other-1").exists()


def test_a_killed_launcher_s_temporary_folder_goes_with_its_sandbox(
    make_plan: MakePlan, root: Path, tmp_path: Path
) -> None:
    """The sweep follows the link, but removes nothing that no launcher made."""
    parent = root / ".capillary" / "sandbox"
    for name, tmp in (("one", tmp_path / "capillary-x"), ("two", tmp_path / "precious")):
        (parent / name).mkdir(parents=True)
        tmp.mkdir()
        (parent / name / "tmp").symlink_to(tmp)
    with sandbox(make_plan()):
        assert [path.name for path in parent.iterdir() if path.name in {"one", "two"}] == []
    assert not (tmp_path / "capillary-x").exists()
    assert (tmp_path / "precious").is_dir()


def test_a_failing_block_leaves_nothing(make_plan: MakePlan, root: Path) -> None:
    """Whatever happens in it."""
    with pytest.raises(RuntimeError), sandbox(make_plan()):
        raise RuntimeError
    assert list((root / ".capillary" / "sandbox").iterdir()) == []


def test_a_folder_is_held_as_long_as_its_run(root: Path) -> None:
    """Also seen from this process; to ask takes nothing away, and a folder that is gone or was left is nobody's."""
    with own_folder(root, "toy") as base:
        assert is_held(base)
        assert is_held(base)
        assert list(base.iterdir()) == [base / "lock"]
    assert not is_held(base)
    base.mkdir()
    assert not is_held(base)
    with (base / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever asked holds nothing


def test_what_killed_launchers_left_can_be_swept(root: Path) -> None:
    """Without one's own run; what runs stays, and so does what is not a sandbox."""
    parent = root / ".capillary" / "sandbox"
    (parent / "left-1" / "files").mkdir(parents=True)
    (parent / "notes.txt").touch()
    (parent / "odd-1").mkdir()
    (parent / "odd-1" / "lock").symlink_to(root / "data/in.txt")  # which keeps its content
    with own_folder(root, "toy") as base:
        sweep(root)
        assert set(parent.iterdir()) == {base, parent / "notes.txt", parent / "odd-1"}
    assert (root / "data/in.txt").read_text() == "data/in.txt"


@pytest.mark.parametrize(
    ("workspace", "deps", "names"),
    [
        ("/a/b/project", [], "project"),
        ("/a/b/project", ["../x"], "b/project"),
        ("/a/b/project", ["x", "../../y/../z", "../w"], "a/b/project"),
        ("/a/project", ["../../../x"], "up/up/a/project"),
        ("/a/project", ["s3://bucket/../../x", "data/../x"], "project"),
    ],
)
def test_the_working_folder_is_as_deep_as_its_deps_need(
    make_plan: MakePlan, workspace: str, deps: list[str], names: str
) -> None:
    """Under the names of the folders around the workspace, as far as there are any."""
    places = tuple(Dep(name=name, host=None) for name in deps)
    assert str(folder_names(dataclasses.replace(make_plan(), root=Path(workspace), deps=places))) == names
