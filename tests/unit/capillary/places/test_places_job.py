"""A job's folder holds the whole plan but its secrets, and a node makes the same plan of it."""

import dataclasses
import os
from pathlib import Path

import pytest

from capillary.places.job import Handover, job_folder, plan_of, read_job, refuse_changed, write_job
from capillary.places.outcome import read_ended
from capillary.planning.plan import Dep
from capillary.planning.provenance import forget, with_provenance
from capillary.settings import ExecutorName, PlaceName, read_settings
from stages.common.errors import CapillaryError, DamagedError
from stages.common.runtime import read_order
from tests.unit.capillary.places.conftest import ACCESS, Make, Write


def test_a_job_holds_names_of_variables_and_no_value(write: Write, root: Path) -> None:
    """What .env has is read there by the node; the rest comes in its environment, under the user's own names."""
    (root / ".env").write_text("TOY_KEY=in-the-file\n")
    secrets = {"TOY_TOKEN": "s3cr3t", "ARTIFACTS_AWS_SECRET_ACCESS_KEY": "k3y", "TOY_KEY": "in-the-file"}
    folder = write(variables=secrets, access=ACCESS, needs_network=True)
    job = read_job(folder)
    assert job.exported() == ["ARTIFACTS_AWS_SECRET_ACCESS_KEY", "TOY_TOKEN"]
    assert {name: (each.name, each.kept_in) for name, each in job.variables.items()} == {
        "AWS_SECRET_ACCESS_KEY": ("ARTIFACTS_AWS_SECRET_ACCESS_KEY", "environment"),
        "TOY_KEY": ("TOY_KEY", "file"),
        "TOY_TOKEN": ("TOY_TOKEN", "environment"),
    }
    kept = "".join(file.read_text() for file in folder.iterdir())
    assert not any(value in kept for value in secrets.values())


def test_a_node_makes_the_same_plan_of_it(write: Write, make_plan: Make, root: Path) -> None:
    """But for the folder of sandboxes, logs and locks, which is the job's own."""
    variables = {"TOY_TOKEN": "t"}
    folder = write(variables=variables, access=ACCESS)
    plan = make_plan("data/in.txt", "stages", access=ACCESS, environment=variables)
    found = plan_of(read_job(folder), folder, read_settings(root, variables), {})
    assert found == dataclasses.replace(plan, repository=folder, order=found.order)
    assert found.order == read_order(folder / "order.json") == plan.order


def test_a_file_of_the_head_travels_with_the_job(make_plan: Make, root: Path) -> None:
    """The head may end first, and its file with it; the job has a copy, and compares it as any dep."""
    file = root / "survey.json"
    file.write_text("{}")
    plan = dataclasses.replace(make_plan(), deps=(Dep(name="survey.json", host=file, is_carried=True),))
    settings = read_settings(root, {})
    handover = Handover(place=PlaceName.RAY, executor=ExecutorName.PROCESS, environment_id=(), settings=settings)
    job = write_job(plan, job_folder(plan), handover)
    file.unlink()
    refuse_changed(job)
    (dep,) = plan_of(job, job_folder(plan), settings, {}).deps
    assert dep.host is not None
    assert dep.host.read_text() == "{}"
    dep.host.write_text("[]")
    with pytest.raises(CapillaryError, match=r"survey.json is different"):
        refuse_changed(job)


def test_where_a_run_comes_from_travels_with_the_job(make_plan: Make, root: Path) -> None:
    """A head whose terminal is closed removes its files, and the job may still wait in the queue."""
    (root / "params.yaml").write_text("key: 1\n")
    settings = read_settings(root, {})
    plan = with_provenance(make_plan("data/in.txt", access=ACCESS), [], settings)
    handover = Handover(place=PlaceName.SLURM, executor=ExecutorName.PROCESS, environment_id=(), settings=settings)
    job = write_job(plan, job_folder(plan), handover)
    forget(plan)
    refuse_changed(job)
    handed = plan_of(job, job_folder(plan), settings, {}).deps[-1]
    assert handed.host is not None
    assert (handed.host / "params.yaml").read_text() == "key: 1\n"


def test_a_variable_that_did_not_reach_the_node_is_named(write: Write, root: Path) -> None:
    """With the way in which it will."""
    folder = write(variables={"TOY_TOKEN": "t"}, access=ACCESS)
    with pytest.raises(CapillaryError, match="TOY_TOKEN is not in the environment of the job"):
        plan_of(read_job(folder), folder, read_settings(root, {}), {})


@pytest.mark.parametrize("content", ["", "{}", '{"code": 999, "node": "n", "started": 0, "ended": 1}', "link", "pipe"])
def test_what_no_job_leaves_is_refused(tmp_path: Path, content: str) -> None:
    """A node may be anybody's: no link is followed, no pipe waited for."""
    file = tmp_path / "ended.json"
    if content == "link":
        file.symlink_to("/etc/hostname")
    elif content == "pipe":
        os.mkfifo(file)
    else:
        file.write_text(content)
    with pytest.raises(DamagedError, match="cannot be read"):
        read_ended(tmp_path)


def test_an_item_with_a_slash_has_one_folder(make_plan: Make) -> None:
    """Its address is part of a name."""
    folder = job_folder(make_plan(address="toy@a/b", fingerprint="0123456789abcdef0123"))
    assert folder.name == "toy@a%2Fb-0123456789abcdef"
