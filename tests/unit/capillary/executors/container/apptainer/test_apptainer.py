"""A stage in Apptainer, as the command that runs it: isolated as in Docker, with no secret in any word of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.executors.container.apptainer import execute
from capillary.executors.container.apptainer.argv import exec_argv, exec_environment, mount_text
from capillary.executors.container.apptainer.execute import ApptainerExecutor
from capillary.executors.container.spec import Bind
from capillary.lifetimes.stop import Stop
from capillary.planning.plan import StagePlan
from capillary.settings import read_settings
from stages.common.errors import CapillaryError

Make = Callable[..., StagePlan]
IMAGE = Path("/images/capillary-toy-1.sif")


def test_the_command_isolates_the_stage(make_plan: Make) -> None:
    """No network, no home, no environment; what it reads is read-only."""
    binds = [Bind(source="/p/data", target="/work/p/data"), Bind(source="/s", target="/work/p/out", writable=True)]
    plan = make_plan("data/in.txt", argv=("--fold", "0"))
    argv = exec_argv(plan, IMAGE, binds, with_gpu=False)
    assert argv[:8] == [
        *("apptainer", "exec", "--containall", "--cleanenv", "--no-home", "--no-privs"),
        *("--net", "--network"),
    ]
    assert "type=bind,source=/p/data,destination=/work/p/data,ro" in argv
    assert "type=bind,source=/s,destination=/work/p/out" in argv
    end = ["/images/capillary-toy-1.sif", "python", "-P", "/capillary/inside.pyz", "stages.toy", "--fold", "0"]
    assert argv[-len(end) :] == end
    with_network = exec_argv(make_plan(needs_network=True), IMAGE, [], with_gpu=True)
    assert "--net" not in with_network
    assert "--nv" in with_network


def test_a_path_with_other_signs_is_one_path() -> None:
    """Commas and quotes separate fields otherwise."""
    bind = Bind(source='/my "data", a:b', target="/x")
    assert mount_text(bind) == 'type=bind,"source=/my ""data"", a:b",destination=/x,ro'


def test_no_secret_is_in_the_command_or_its_environment(make_plan: Make) -> None:
    """They come on standard input, as in a container of Docker."""
    plan = make_plan(environment={"TOY_TOKEN": "s3cr3t"})
    environment = exec_environment(plan, {"PATH": "/bin"})
    assert environment["APPTAINERENV_OMP_NUM_THREADS"] == "2"
    assert environment["PATH"] == "/bin"
    assert "s3cr3t" not in str(environment) + str(exec_argv(plan, IMAGE, [], with_gpu=False))


@pytest.fixture
def executor(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ApptainerExecutor:
    """In a project with a stage, on a machine whose Apptainer runs nothing: it notes what it is asked and given."""
    for name in ("stages/toy/Dockerfile", "stages/toy/requirements.txt", "constraints.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nenv > {tmp_path}/env\nread -r line; echo "$line" > {tmp_path}/first\nexit 9\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return ApptainerExecutor(read_settings(root))


def test_a_missing_image_names_the_commands_that_make_it(
    executor: ApptainerExecutor, make_plan: Make, root: Path
) -> None:
    """It is made where Docker runs."""
    with pytest.raises(CapillaryError, match="no Apptainer image file") as caught:
        executor.environment_id(root, "toy", make_plan().access)
    assert "docker save capillary-toy:" in caught.value.remedy
    assert "apptainer build" in caught.value.remedy


def test_a_stage_gets_its_secrets_on_standard_input(
    executor: ApptainerExecutor, make_plan: Make, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exit code is that of the run, and a failed one publishes nothing."""
    monkeypatch.setattr(execute, "require_image", lambda folder, tag, _stage: folder / tag)
    monkeypatch.setenv("APPTAINERENV_LEFT", "over")
    plan = make_plan("data/in.txt", environment={"TOY_TOKEN": "s3cr3t"})
    tag, machine = executor.environment_id(root, "toy", plan.access)
    assert tag.startswith("capillary-toy:")
    assert machine == {"x86_64": "amd64", "aarch64": "arm64"}.get(_machine(), _machine())
    assert executor.execute(plan, Stop(), lambda _work: pytest.fail("published")) == 9
    assert '"TOY_TOKEN": "s3cr3t"' in (tmp_path / "first").read_text()
    given = (tmp_path / "env").read_text()
    assert "s3cr3t" not in given
    assert "APPTAINERENV_LEFT" not in given
    assert "APPTAINERENV_TMPDIR=/capillary/tmp" in given


def test_a_machine_without_apptainer_is_told_so(root: Path) -> None:
    """Often it is a module to load."""
    with pytest.raises(CapillaryError, match="apptainer is not on PATH") as caught:
        ApptainerExecutor(read_settings(root, {"PATH": "/nowhere"}))
    assert "module load" in caught.value.remedy


def _machine() -> str:
    return subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
