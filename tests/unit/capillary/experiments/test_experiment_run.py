import json
import os
import signal
import sys
from pathlib import Path

import pytest

from capillary.experiments import run
from capillary.experiments.cells import Outcome
from capillary.experiments.run import _environment, _experiment_names, _fact, variables_of
from capillary.experiments.sections import Compute, Debug, ExperimentHead, Monitoring, Resume, Sections
from capillary.planning.naming import is_rehearsal, leaves_volumes_out, registered_model
from capillary.report import RunFacts
from capillary.settings import read_settings
from stages.common.cell_name import CellName
from stages.common.errors import CapillaryError, ExitCode
from stages.common.lifetimes.signals import handled
from stages.common.program.messages import print_messages


def sections(**more: Compute | Monitoring | Resume) -> Sections:
    return Sections(experiment=ExperimentHead(name="v"), **more)  # type: ignore[arg-type]  # sections by name


def test_a_folder_without_git_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    """DVC experiments are Git commits; a plain folder gives no traceback."""
    with pytest.raises(CapillaryError, match="cannot list the experiments") as caught:
        _experiment_names(tmp_path)
    assert caught.value.code == ExitCode.USAGE
    assert "Git" in caught.value.remedy


def test_a_report_that_fails_is_said_in_the_format_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an error that ends a program; the experiment itself goes on."""

    def refuse(*_: object) -> Path:
        raise CapillaryError("no room", remedy="make some", code=ExitCode.MACHINE)

    monkeypatch.setattr(run, "write_report", refuse)
    print_messages("info", "json")
    assert run._report(tmp_path, "v", RunFacts()) == ExitCode.MACHINE
    assert json.loads(capsys.readouterr().err)["message"] == "no room"


def test_the_sections_become_settings(tmp_path: Path) -> None:
    """What the file says about running is what the launcher reads."""
    asked = sections(
        compute=Compute(profile="gpu_low", require_gpu=True),
        monitoring=Monitoring(monitor_interval_sec=2.5, memory_abort_process_rss_gb=12),
        resume=Resume(enabled=False, checkpoint_dir="/big/disk"),
    )
    settings = read_settings(tmp_path, variables_of(asked, resume=False))
    assert settings.profile == "gpu_low"
    assert settings.require_gpu
    assert settings.monitor_interval_s == 2.5
    assert settings.memory_abort_gb == 12
    assert settings.resume is False
    assert settings.checkpoint_dir == "/big/disk"


@pytest.mark.parametrize("number", [0.00001, 1e7, 12345678.5, 10.0])
def test_a_number_of_a_section_is_a_setting_as_it_is(tmp_path: Path, number: float) -> None:
    """Settings take no exponent, and no digit is lost."""
    asked = sections(monitoring=Monitoring(monitor_interval_sec=number, memory_abort_process_rss_gb=number))
    settings = read_settings(tmp_path, variables_of(asked, resume=False))
    assert (settings.monitor_interval_s, settings.memory_abort_gb) == (number, number)


def test_what_a_file_leaves_open_is_the_environments() -> None:
    """A profile in .env is not undone by `auto`."""
    assert set(variables_of(sections(), resume=False)) == {"CAPILLARY_MONITOR_INTERVAL_S", "CAPILLARY_EXPERIMENT"}


@pytest.mark.parametrize("debug", [True, False])
def test_trainings_are_named_after_the_file_and_rehearsals_are_marked(tmp_path: Path, debug: bool) -> None:
    """Whatever DVC calls the experiment."""
    variables = variables_of(sections(debug=Debug(enabled=debug)), resume=False)
    settings = read_settings(tmp_path, {**variables, "DVC_EXP_NAME": "puffy-daks"})
    assert registered_model(settings) == f"capillary-{sections().experiment.name}"
    assert is_rehearsal(settings, tmp_path) is debug
    assert registered_model(read_settings(tmp_path, {"DVC_EXP_NAME": "puffy-daks"})) == "capillary-default"


def test_a_run_on_the_first_volumes_is_a_rehearsal() -> None:
    """Their number may be set in params.yaml, without an experiment file."""
    assert leaves_volumes_out({"preprocess": {"max_volumes": 5}})
    assert not leaves_volumes_out({"preprocess": {"max_volumes": None}})
    assert not leaves_volumes_out({})


def test_the_flag_wins_over_the_file(tmp_path: Path) -> None:
    """--resume continues from checkpoints whatever resume.enabled says."""
    asked = sections(resume=Resume(enabled=False))
    assert read_settings(tmp_path, variables_of(asked, resume=True)).resume is True


def test_the_flag_wins_over_the_settings(tmp_path: Path) -> None:
    """CAPILLARY_RESUME=no would remove the checkpoints that it is to continue from; the file alone leaves it."""
    own = {"CAPILLARY_RESUME": "no"}
    assert read_settings(tmp_path, {**own, **variables_of(sections(), resume=True)}).resume is True
    assert read_settings(tmp_path, {**own, **variables_of(sections(), resume=False)}).resume is False


def test_no_samples_are_taken_when_the_monitor_is_off(tmp_path: Path) -> None:
    """monitoring.system_monitor: false."""
    asked = sections(monitoring=Monitoring(system_monitor=False))
    assert read_settings(tmp_path, variables_of(asked, resume=False)).monitor_interval_s is None


@pytest.mark.parametrize(
    ("code", "ran", "status", "reason"),
    [
        (0, True, "trained", None),
        (0, False, "up to date", None),
        (3, True, "failed", "exit code 3, see logs/x"),
        (130, False, "failed", "exit code 130, see logs/x"),
    ],
)
def test_a_cell_is_reported_as_it_ended(code: int, ran: bool, status: str, reason: str | None) -> None:
    """With the reason of a failure: where to look."""
    cell = CellName("skeleton_recall", 10, 7)
    ended = Outcome(address=cell.address, code=code, ran=ran, seconds=2.5, log=Path("logs/x"))
    fact = _fact(cell, ended)
    assert fact.cell == cell
    assert (fact.status, fact.reason, fact.wall_s) == (status, reason, 2.5)


def test_stages_find_the_command_of_this_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs come first on PATH, also where no environment is active; everything else is as it is here."""
    own = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", "/somewhere")
    monkeypatch.setenv("CAPILLARY_WORKERS", "3")
    assert _environment()["PATH"] == f"{own}{os.pathsep}/somewhere"
    assert _environment()["CAPILLARY_WORKERS"] == "3"
    monkeypatch.delenv("PATH")
    assert _environment()["PATH"] == f"{own}{os.pathsep}{os.defpath}"


def test_a_request_to_end_the_command_ends_the_stage_that_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill` reaches the command alone: DVC and its stage would go on without it."""
    stand_in = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGTERM); time.sleep(5)"
    monkeypatch.setattr(run, "KILL_SAFE_DVC", [sys.executable, "-c", stand_in])
    with handled({signal.SIGTERM: lambda *_: None}):  # for this test's own process
        assert run._dvc(tmp_path, os.environ, "repro", "evaluate") == 128 + signal.SIGTERM
