import importlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

from capillary.__main__ import main
from capillary.cli import app
from capillary.experiments.run import Options
from capillary.launcher.run import stage_hardware
from capillary.lifetimes.stop import Stop
from stages.common.errors import CapillaryError
from stages.common.preflight.check import Report, missed
from stages.common.program.messages import LOG_FORMAT, LOG_LEVEL
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from tests.support.parts import REPOSITORY

HEAVY = {"dvc", "torch", "mlflow", "numpy", "pandas", "monai", "ruamel", "yaml"}
PROGRAM = """
import sys
from capillary.__main__ import main
sys.argv = ["capillary", *sys.argv[1:]]
try:
    main()
finally:
    print("LOADED", *sorted({name.split(".")[0] for name in sys.modules}))
"""

MAINTENANCE = "capillary.executors.container.maintenance"


@pytest.mark.parametrize("arguments", [["--help"], ["stage", "--help"], ["experiment", "--help"], ["report", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """`capillary --help` answers at once: neither DVC nor torch nor MLflow is imported for it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    assert "Usage: capillary" in done.stdout
    loaded = set(done.stdout.partition("LOADED ")[2].split())
    assert "typer" in loaded
    assert loaded & HEAVY == set()


def test_a_foreseen_error_is_a_report_and_an_exit_code(tmp_path: Path) -> None:
    """A command that fails says what, which file and what to do, without a traceback."""
    program = "from capillary.__main__ import main; import sys; sys.argv = ['capillary', 'metrics']; main()"
    (tmp_path / "dvc.yaml").touch()
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "there are no metrics yet" in done.stderr
    assert "metrics/metrics.json" in done.stderr
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def _commands(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, *names, name)


@pytest.mark.parametrize("names", list(_commands(get_command(app))), ids=" ".join)
def test_every_command_explains_itself(names: tuple[str, ...]) -> None:
    """Rich takes words in square brackets for markup: it drops them, or fails."""
    done = run(*names, "--help")
    assert done.exit_code == 0, done.exception
    command: Any = get_command(app)
    for name in names:
        command = command.commands[name]
    for text in (command.help, *(param.help for param in command.params if getattr(param, "help", None))):
        assert Text.from_markup(text).plain == text


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[object, ...]]:
    """(level, format) of what is printed, each time that they are chosen."""
    chosen: list[tuple[object, ...]] = []
    for name in (LOG_LEVEL, LOG_FORMAT):
        monkeypatch.setenv(name, "")  # and put back as it was
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("capillary.message_options.print_messages", lambda *words: chosen.append(words))
    monkeypatch.setattr("capillary.executors.container.maintenance.show_siblings", lambda _root: None)
    return chosen


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ps"], ("info", "text")),
        (["ps", "-v"], ("debug", "text")),
        (["ps", "--verbose", "--log-format", "json"], ("debug", "json")),
        (["ps", "--quiet"], ("warning", "text")),
        (["-q", "ps"], ("warning", "text")),
        (["-q", "ps", "-v"], ("debug", "text")),
        (["--log-format=json", "ps"], ("info", "json")),
    ],
)
def test_a_command_prints_what_its_options_say_and_so_do_those_that_it_starts(
    told: list[tuple[object, ...]], words: list[str], expected: tuple[str, str]
) -> None:
    """They stand before the command or after it. DVC and stages get variables."""
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert told[-1] == expected
    assert (os.environ[LOG_LEVEL] or "info", os.environ[LOG_FORMAT] or "text") == expected


def test_env_says_what_is_printed_and_an_option_wins(told: list[tuple[object, ...]]) -> None:
    """As every setting of the machine."""
    Path(".env").write_text(f"{LOG_LEVEL}=error\n{LOG_FORMAT}=json\n")
    for name in (LOG_LEVEL, LOG_FORMAT):
        del os.environ[name]
    run("ps")
    assert told[-1] == ("error", "json")
    run("ps", "-v")
    assert told[-1] == ("debug", "json")


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        (["ps", "-q", "-v"], ""),
        (["ps", "--log-format", "xml"], ""),
        (["ps"], "loud"),
    ],
)
def test_what_cannot_be_printed_is_refused(
    told: list[tuple[object, ...]], words: list[str], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is done."""
    monkeypatch.setenv(LOG_LEVEL, variable)
    done = run(*words)
    assert done.exit_code == 2 or isinstance(done.exception, CapillaryError)
    assert "ps" not in told


def test_every_command_has_the_options_and_its_own() -> None:
    """Also those of groups; the function behind does not see them. A group that runs nothing itself has none."""
    for names in _commands(get_command(app)):
        command: Any = get_command(app)
        for name in names:
            command = command.commands[name]
        if names and hasattr(command, "commands") and not command.invoke_without_command:
            continue
        assert {"verbose", "quiet", "log_format"} <= {param.name for param in command.params}, names


def test_the_version_is_that_of_the_checkout_that_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wherever it is asked."""
    monkeypatch.chdir(tmp_path)
    done = run("--version")
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert done.output.startswith(f"capillary {version}, DVC {metadata.version('dvc')}, Python ")


@pytest.mark.parametrize("threshold", ["1", "1.5", "-0.1", "nan"])
def test_a_threshold_that_no_probability_can_be_above_is_refused_as_an_option(threshold: str) -> None:
    """And not as a line of params.yaml, where it does not stand."""
    done = run("predict", "in.tif", "out.tif", f"--threshold={threshold}")
    assert done.exit_code == 2
    assert "'--threshold'" in done.stderr


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[object, ...]]:
    """What a command hands on, with the current folder as its workspace; each part answers 7."""
    monkeypatch.chdir(tmp_path)
    return []


def note(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[object, ...]], module: str, name: str, answer: object = 7
) -> None:
    """Let `name` of `module` keep its arguments, those with names as a dict at the end."""

    def noted(*arguments: object, **named: object) -> object:
        calls.append((*arguments, named) if named else arguments)
        return answer

    monkeypatch.setattr(importlib.import_module(module), name, noted)


def test_a_prediction_is_what_its_options_say(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[object, ...]]) -> None:
    """Each option in its place; the exit code is the stage's."""
    note(monkeypatch, calls, "capillary.prediction.run", "run_prediction")
    words = "predict in.tif out.tif --loss a --fold 0 --fold 2 --threshold 0 --spacing-um 3,2,1 --min-component-um3 4"
    assert run(*words.split(), "--probability").exit_code == 7
    assert run("predict", "in.tif", "out.tif", "--model", "m", "--picture", "--force").exit_code == 7
    stack = StackRequest(image=Path("in.tif"), mask=Path("out.tif"))
    first = stack.model_copy(update={"probability": Path("out_probability.tif"), "spacing_um": (3.0, 2.0, 1.0)})
    options = {"loss": "a", "folds": (0, 2), "threshold": 0.0, "min_component_um3": 4.0}
    assert calls[0][:2] == (PredictRequest(stacks=(first,), **options), Path.cwd())
    pictured = stack.model_copy(update={"picture": Path("out.png")})
    assert calls[1][:2] == (PredictRequest(stacks=(pictured,), model="m", force=True), Path.cwd())
    assert all(isinstance(call[2], Stop) for call in calls)


def test_an_experiment_is_what_its_flags_say(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[object, ...]]) -> None:
    """Each flag in its place."""
    note(monkeypatch, calls, "capillary.experiments.run", "run_experiment")
    flags = ("--debug", "--resume", "--dry-run")
    for chosen in ((), *((flag,) for flag in flags)):
        assert run("experiment", "--config", "v.yaml", *chosen).exit_code == 7
    given = [
        Options(),
        Options(debug=True),
        Options(resume=True),
        Options(dry_run=True),
    ]
    assert run("experiment", "--dry-run").exit_code == 7
    default = (Path("configs/experiments/default.yaml"), Path.cwd(), Options(dry_run=True))
    assert calls == [*((Path("v.yaml"), Path.cwd(), options) for options in given), default]
    assert (REPOSITORY / default[0]).is_file()


@pytest.mark.parametrize(
    ("words", "module", "name", "expected"),
    [
        ("check", "capillary.experiments.check", "check_project", ()),
        ("profile", "capillary.compute.show", "show_profile", (stage_hardware, {"as_json": False})),
        ("profile --json", "capillary.compute.show", "show_profile", (stage_hardware, {"as_json": True})),
        ("clean", MAINTENANCE, "clean", ({"state": False, "images": False, "used": set()},)),
        (
            "clean --state",
            MAINTENANCE,
            "clean",
            ({"state": True, "images": False, "used": set()},),
        ),
        (
            "clean --images",
            MAINTENANCE,
            "clean",
            ({"state": False, "images": True, "used": set()},),
        ),
        ("ps", MAINTENANCE, "show_siblings", ()),
        ("dev", "capillary.experiments.services", "up", ("dev",)),
        ("dev --profile team", "capillary.experiments.services", "up", ("team",)),
        ("up", "capillary.experiments.services", "up", ("dev",)),
        ("up --profile team", "capillary.experiments.services", "up", ("team",)),
        ("down", "capillary.experiments.services", "down", ()),
    ],
)
def test_a_command_works_in_the_current_folder(
    monkeypatch: pytest.MonkeyPatch,
    calls: list[tuple[object, ...]],
    words: str,
    module: str,
    name: str,
    expected: tuple[object, ...],
) -> None:
    """With what its options say."""
    note(monkeypatch, calls, module, name)
    assert run(*words.split()).exit_code == 0
    assert calls == [(Path.cwd(), *expected)]


def test_a_report_is_called_what_its_option_says(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[object, ...]]
) -> None:
    """Else it finds its name itself; it hears requests to stop."""
    note(monkeypatch, calls, "capillary.report.write", "report_workspace")
    assert run("report").exit_code == run("report", "--name", "x").exit_code == 0
    assert [call[:2] for call in calls] == [(Path.cwd(), None), (Path.cwd(), "x")]
    assert isinstance(calls[0][2], Stop)


def test_a_build_is_of_the_stages_named(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[object, ...]]) -> None:
    """Of all where none is; it hears requests to stop."""
    note(monkeypatch, calls, MAINTENANCE, "build_images")
    assert run("build").exit_code == run("build", "train", "ingest").exit_code == 0
    assert [call[:2] for call in calls] == [(Path.cwd(), []), (Path.cwd(), ["train", "ingest"])]
    assert isinstance(calls[0][2], Stop)


@pytest.mark.parametrize(("failed", "code"), [(True, 9), (False, 0)])
def test_preflight_ends_with_its_code_and_tells_people_or_programs(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[object, ...]], failed: bool, code: int
) -> None:
    """A GPU is required where the flag says so."""
    status = missed("git", "none", "one", "git init", critical=failed)
    note(monkeypatch, calls, "capillary.preflight", "run_preflight", Report((status,)))
    assert run("preflight").exit_code == code
    done = run("preflight", "--json", "--require-gpu")
    assert done.exit_code == code
    assert json.loads(done.stdout)["failed"] is failed
    assert [call[0] for call in calls] == [Path.cwd()] * 2
    assert [call[-1] for call in calls] == [{"require_gpu": False}, {"require_gpu": True}]


@pytest.mark.parametrize("words", [["stage", "train", "--fold", "1"], ["stage", "train"]])
def test_a_stage_gets_its_arguments_as_they_are(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[object, ...]], words: list[str]
) -> None:
    """By the short way that DVC's commands take, and by the command line."""
    note(monkeypatch, calls, "capillary.launcher.command", "run_command")
    monkeypatch.setattr(sys, "argv", ["capillary", *words])
    main()
    assert run(*words).exit_code == 0
    assert calls == [(words[1:],)] * 2


def test_the_metrics_are_those_of_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[object, ...]]
) -> None:
    """As evaluate writes them."""
    note(monkeypatch, calls, "capillary.metrics_table", "show_metrics")
    assert run("metrics").exit_code == 0
    assert calls == [(Path(),)]
