import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePath

import pytest

from capillary.executors.container.scratch import lay_scratch, work_folder
from capillary.planning.plan import INPUTS, StagePlan
from stages.common.runtime import read_order

MakePlan = Callable[..., StagePlan]


def test_a_run_keeps_its_params_its_supervisor_and_room_for_its_outs(
    make_plan: MakePlan, root: Path, tmp_path: Path
) -> None:
    """Parents of outs are mounted, the outermost only; the outs themselves are the stage's to make."""
    plan = make_plan(outs=("models/a/fold.json", "models/b.json", "./data/../data/out"))
    scratch = lay_scratch(plan, tmp_path / "run")
    assert (scratch.base, scratch.work) == (tmp_path / "run", tmp_path / "run/files")
    assert scratch.parents == (PurePath("data"), PurePath("models"))
    assert scratch.tmp.is_dir()
    assert (scratch.base / "params.yaml").read_text() == "toy:\n  times: 1\n"
    assert read_order(scratch.base / "order.json") == plan.order
    # it runs in an image that holds nothing of the tool; without an order it starts nothing
    argv = [sys.executable, "-I", "-S", scratch.base / "inside.pyz", "x"]
    assert subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode == 143
    assert {str(path.relative_to(scratch.work)) for path in scratch.work.rglob("*")} == {"models", "models/a", "data"}
    assert scratch.placeholders == frozenset()


@pytest.mark.parametrize(
    ("deps", "outs", "placeholders"),
    [
        (["data/in.txt"], ["data/out"], {"data/in.txt"}),
        (["data/in.txt"], ["models/x"], set()),
        (["data"], ["data/out"], {"data"}),
        (["./stages/../data/in.txt", "stages"], ["out.txt"], {"data/in.txt", "stages", *INPUTS}),
        (["s3://bucket/data", "data/in.txt"], ["data/out"], {"data/in.txt"}),
    ],
    ids=["beside an out", "elsewhere", "a parent of an out", "everything", "a source on the net"],
)
def test_places_of_deps_below_a_parent_of_outs_exist(
    make_plan: MakePlan, root: Path, tmp_path: Path, deps: list[str], outs: list[str], placeholders: set[str]
) -> None:
    """A folder for a folder, a file for a file: the daemon would make one that is root's."""
    scratch = lay_scratch(make_plan(*deps, outs=tuple(outs)), tmp_path / "run")
    assert scratch.placeholders == {scratch.work / name for name in placeholders}
    for name in placeholders.difference(INPUTS):
        assert (scratch.work / name).is_dir() == (root / name).is_dir()
    assert all(path.exists() for path in scratch.placeholders)


def test_the_working_folder_is_named_like_the_workspace(make_plan: MakePlan, root: Path) -> None:
    """So that ../x means there what it means here."""
    assert work_folder(make_plan("data/in.txt")) == PurePath("/work/my project")
    assert work_folder(make_plan("../beside")) == PurePath("/work", root.parent.name, "my project")
