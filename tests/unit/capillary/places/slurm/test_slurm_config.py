"""configs/slurm.yaml and what becomes of it: text that sbatch reads, without a value of any variable."""

import io
import os
import shlex
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from capillary.places.slurm.config import SlurmConfig, read_config
from capillary.places.slurm.script import (
    NO_ROOM,
    apart_script,
    array_name,
    array_script,
    batch_script,
    options,
    step_argv,
    submit_apart_argv,
    submit_argv,
    submit_array_argv,
    submit_environment,
)
from stages.common.errors import ParamsError
from stages.common.params import validate_params
from tests.support.clusters.places import PROFILE
from tests.support.parts import REPOSITORY
from tests.unit.capillary.places.slurm.conftest import profile

CONFIG = {
    "max_jobs": 1,
    "stages": {"train": "many", "predict": "many", "evaluate": "one"},
    "profiles": {"many": {**PROFILE, "nodes": 4}, "one": PROFILE},
}


def test_the_file_of_this_repository_is_right() -> None:
    """Its stages have profiles; a stage that it does not name runs on the head."""
    config = read_config(REPOSITORY)
    assert config.profile_of("train") is not None
    assert config.profile_of("ingest") is None


def test_a_project_without_the_file_is_told_what_to_do(tmp_path: Path) -> None:
    """Before anything is submitted."""
    with pytest.raises(ParamsError, match="needs a file with the resources of its jobs"):
        read_config(tmp_path)


def test_the_script_asks_for_what_the_profile_says() -> None:
    """One option per line, as somebody who knows sbatch would write it."""
    wanted = profile(
        partition="gpu", account="lab", qos="long", time="2-00:00:00", cpus=8, memory_gb=32, gpus=2, gpu_type="a100",
        warn_s=300, extra=["--constraint=avx512", "--exclusive"],
    )  # fmt: skip
    script = batch_script(wanted, "capillary-abc", "/venv/bin/python", Path("/data/my project/job"))
    assert script.splitlines() == [
        "#!/bin/bash",
        "#SBATCH --job-name=capillary-abc",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=lab",
        "#SBATCH --qos=long",
        "#SBATCH --time=2-00:00:00",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=30517M",
        "#SBATCH --gres=gpu:a100:2",
        "#SBATCH --signal=B:TERM@300",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --constraint=avx512",
        "#SBATCH --exclusive",
        "exec /venv/bin/python -P -m capillary.places.slurm.node '/data/my project/job'",
    ]


def test_a_training_on_several_nodes_asks_for_each_what_the_profile_says() -> None:
    """One task per node; the batch script is the first node's, and a step reaches the others."""
    wanted = list(options(profile(nodes=3, cpus=8, gpus=2), "n"))
    assert wanted[2:7] == ["--nodes=3", "--ntasks=3", "--ntasks-per-node=1", "--cpus-per-task=8", "--mem=476M"]
    assert "--gres=gpu:2" in wanted
    assert step_argv(3, 8, ["python", "-m", "peer", "/jobs/my job"]) == [
        *("srun", "--relative=1", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=8"),
        *("--kill-on-bad-exit=0", "python", "-m", "peer", "/jobs/my job"),
    ]


def test_trainings_alone_share_nodes() -> None:
    """A prediction with the same profile has one node per job; without the key every stage has."""
    own = validate_params(SlurmConfig, CONFIG, "configs/slurm.yaml")
    nodes = {stage: found.nodes for stage in ("train", "predict", "evaluate") if (found := own.profile_of(stage))}
    assert nodes == {"train": 4, "predict": 1, "evaluate": 1}


def test_what_a_profile_leaves_open_is_the_cluster_s() -> None:
    """No partition, no account, no GPU."""
    script = batch_script(profile(), "n", "python", Path("/job; rm -rf"))
    assert not any(option in script for option in ("--partition", "--account", "--qos", "--gres"))
    assert shlex.split(script.splitlines()[-1])[-1] == "/job; rm -rf"


def test_nodes_that_are_not_to_be_used_join_those_of_the_profile() -> None:
    """Slurm takes the last of several --exclude."""
    assert profile().without([]) == profile()
    chosen = profile(extra=("--exclude=n[7-9]", "--constraint=a100")).without(["n1", "n2"])
    assert chosen.extra == ("--constraint=a100", "--exclude=n[7-9],n1,n2")


def test_the_script_for_a_node_apart_brings_everything_along(tmp_path: Path) -> None:
    """It unpacks itself into a folder of the node, works there, and names nothing of this machine."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("job/job.json"))
    wanted = profile(files="remote", python="/opt/my python")
    script = apart_script(wanted, "capillary-abc", str(wanted.python), packed.getvalue())
    assert str(tmp_path) not in script
    assert script.splitlines()[:2] == ["#!/bin/bash", "#SBATCH --job-name=capillary-abc"]
    *unpacking, last = script.splitlines()
    assert last == "exec '/opt/my python' -P -m capillary.places.apart.node \"$work\""
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["bash"], input="\n".join([*unpacking, "ls $work/job"]), text=True, env=environment, check=True
    )
    (work,) = tmp_path.glob("capillary-*")
    assert done.returncode == 0
    assert "job.json" in (work / "job/log").read_text()
    for no_room in (script, script.replace("mktemp -d", "mktemp -d -u")):  # no folder, and nothing to be written there
        environment["TMPDIR"] = str(tmp_path / "full")
        assert subprocess.run(["bash"], input=no_room, text=True, env=environment, check=False).returncode == NO_ROOM
    argv = submit_apart_argv(Path("/jobs/a/job.sh"), ["PATH"])
    assert argv[2:] == ["--export=PATH", "--output=/dev/null", "--chdir=/", "/jobs/a/job.sh"]


def test_an_array_asks_for_what_one_job_does() -> None:
    """Each task works in its own folder, and its words go into the log there."""
    folders = [Path("/data/my project/train@a%2Fb"), Path("/data/my project/train@c")]
    one = batch_script(profile(), "capillary-abc", "/venv/bin/python", folders[0]).splitlines()
    assert array_script(profile(), "capillary-abc", "/venv/bin/python", folders).splitlines() == [
        *one[:-1],
        "folders=(",
        "'/data/my project/train@a%2Fb'",
        "'/data/my project/train@c'",
        ")",
        'folder="${folders[$SLURM_ARRAY_TASK_ID]}"',
        'exec >>"$folder/log" 2>&1',
        'exec /venv/bin/python -P -m capillary.places.slurm.node "$folder"',
    ]


@pytest.mark.parametrize(("most", "tasks"), [(8, "0-2"), (3, "0-2"), (2, "0-2%2")])
def test_an_array_runs_no_more_tasks_at_once_than_the_experiment(most: int, tasks: str) -> None:
    """The bound is there only if it binds; the script is in the first folder."""
    folders = [Path(f"/jobs/{name}") for name in "abc"]
    assert submit_array_argv(folders, ["PATH"], most) == [
        *("sbatch", "--parsable", "--export=PATH", f"--array={tasks}"),
        *("--output=/dev/null", "--chdir=/jobs", "/jobs/a/job.sh"),
    ]
    assert submit_array_argv(folders, [], most)[2] == "--export=NIL"


def test_an_array_is_found_again_by_what_its_tasks_are() -> None:
    """The same cells in the same order have the same name, as long as nothing of them changes."""
    assert array_name(["f1", "f2"]) == array_name(["f1", "f2"])
    assert len({array_name(["f1", "f2"]), array_name(["f2", "f1"]), array_name(["f1", "f3"])}) == 3
    assert len(array_name(["f1", "f2"])) == len("capillary-0123456789abcdef")


def test_variables_go_by_name_and_paths_mean_themselves() -> None:
    """A percent sign would begin a pattern in the name of the log; the head's own job is not the new one's."""
    argv = submit_argv(Path("/jobs/toy@a%2Fb-1"), ["AWS_KEY", "PATH"])
    assert argv[:3] == ["sbatch", "--parsable", "--export=AWS_KEY,PATH"]
    assert argv[3:] == ["--output=/jobs/toy@a%%2Fb-1/log", "--chdir=/jobs/toy@a%2Fb-1", "/jobs/toy@a%2Fb-1/job.sh"]
    given = {"SLURM_JOB_ID": "1", "SLURM_CONF": "/etc/slurm.conf", "AWS_KEY": "k", "PATH": "/bin"}
    assert submit_environment(given) == {"SLURM_CONF": "/etc/slurm.conf", "AWS_KEY": "k", "PATH": "/bin"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extra": ["--output=/tmp/x"]}, "is set by capillary"),
        ({"extra": ["--wrap=id"]}, "is set by capillary"),
        ({"extra": ["--comment=a\n#SBATCH --uid=0"]}, "not an option of sbatch"),
        ({"extra": ["module load cuda"]}, "not an option of sbatch"),
        ({"extra": ["--comment=a\nid"]}, "not an option of sbatch"),
        ({"partition": "gpu --uid=0"}, "without spaces"),
        ({"account": "a\n#SBATCH -x"}, "without spaces"),
        ({"time": "soon"}, "must be a time limit"),
        ({"time": 90}, "time"),
        ({"time": "1", "warn_s": 30}, "leaves a job no time.* above 90 s"),
        ({"time": "2:59", "warn_s": 120}, "leaves a job no time"),
        ({"warn_s": 5}, "greater than or equal to 30"),
        ({"cpus": 0}, "greater than 0"),
        ({"runtime": "enroot"}, "runtime"),
        ({"nodes": 0}, "greater than 0"),
        ({"nodes": 2, "runtime": "docker"}, "containers of docker have a network of their own"),
        ({"nodes": 2, "files": "remote"}, "needs `files: shared`"),
        ({"extra": ["--ntasks-per-node=2"]}, "is set by capillary"),
        ({"cpu": 1}, "did you mean `cpus`"),
        ({"files": "none"}, "files"),
        ({"files": "remote", "runtime": "docker"}, "needs `runtime: process`"),
        ({"python": "/opt/bin/python"}, "is of use with `files: remote`"),
        ({"files": "remote", "python": "bin/python"}, "must be the absolute path"),
    ],
)
def test_a_wrong_profile_is_refused(changes: dict[str, Any], words: str) -> None:
    """No line of it can become more than one option of sbatch."""
    with pytest.raises(ParamsError, match=words):
        profile(**changes)


@pytest.mark.parametrize("time", ["0", "3:01", "4", "00:03:01", "1:00:00", "0-1", "2-12", "1-0:00:00"])
def test_a_time_limit_longer_than_its_warning_is_taken(time: str) -> None:
    """In every way in which sbatch takes one; 0 is none."""
    assert profile(time=time, warn_s=120).time == time
