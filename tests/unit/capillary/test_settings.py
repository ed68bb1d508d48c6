from pathlib import Path

import pytest

from capillary.settings import BASE_VARIABLES, ExecutorName, read_settings
from stages.common.errors import CapillaryError, ExitCode


def test_everything_has_a_default(tmp_path: Path) -> None:
    """Without .env and variables the hardware decides, a stage has ten seconds for a last checkpoint, and no limit."""
    settings = read_settings(tmp_path, {})
    assert settings.executor is ExecutorName.AUTO
    assert settings.profile == "auto"
    assert (settings.workers, settings.threads, settings.micro_batch) == (None, None, None)
    assert settings.memory_abort_gb is None
    assert settings.monitor_interval_s == 10
    assert settings.grace_s == 10
    assert settings.variables == {}


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A variable for one command overrides .env; what only .env has is taken from there."""
    (tmp_path / ".env").write_text("CAPILLARY_WORKERS=3\nCAPILLARY_THREADS=5\nTOKEN='a b'\n# NOT=this\nBARE\n")
    settings = read_settings(tmp_path, {"CAPILLARY_WORKERS": "7", "CAPILLARY_EXECUTOR": "process"})
    assert (settings.workers, settings.threads) == (7, 5)
    assert settings.executor is ExecutorName.PROCESS
    assert settings.variables["TOKEN"] == "a b"
    assert "BARE" not in settings.variables


@pytest.mark.parametrize("name", ["CAPILLARY_EXECUTOR", "CAPILLARY_WORKERS", "MLFLOW_TRACKING_URI"])
def test_an_empty_variable_is_unset(tmp_path: Path, name: str) -> None:
    """`NAME=` in .env means the default, and in the environment it switches off the one of .env."""
    (tmp_path / ".env").write_text(f"{name}=\n")
    assert name not in read_settings(tmp_path, {}).variables
    (tmp_path / ".env").write_text(f"{name}=7\n")
    assert name not in read_settings(tmp_path, {name: ""}).variables


@pytest.mark.parametrize(
    "name", ["CAPILLARY_WORKERS", "CAPILLARY_THREADS", "CAPILLARY_MICRO_BATCH", "CAPILLARY_GRACE_S"]
)
@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " "])
def test_a_bad_number_is_refused_with_its_name(tmp_path: Path, name: str, value: str) -> None:
    """The message names the variable, the value and what it may be."""
    with pytest.raises(CapillaryError, match=name) as caught:
        read_settings(tmp_path, {name: value})
    assert caught.value.code == ExitCode.USAGE
    assert caught.value.value == value
    assert name in caught.value.remedy


@pytest.mark.parametrize("name", ["CAPILLARY_MEMORY_ABORT_GB", "CAPILLARY_MONITOR_INTERVAL_S"])
@pytest.mark.parametrize("value", ["0", "0.0", "-1", "two", "1,5", "nan"])
def test_a_bad_amount_is_refused_with_its_name(tmp_path: Path, name: str, value: str) -> None:
    """A fraction is one, written with a point; nothing and less than nothing are not."""
    with pytest.raises(CapillaryError, match=name):
        read_settings(tmp_path, {name: value})
    assert read_settings(tmp_path, {"CAPILLARY_MEMORY_ABORT_GB": "1.5"}).memory_abort_gb == 1.5


def test_an_unknown_executor_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """A typing mistake does not fall back to another executor."""
    with pytest.raises(CapillaryError, match="did you mean `docker`") as caught:
        read_settings(tmp_path, {"CAPILLARY_EXECUTOR": "dockr"})
    assert caught.value.code == ExitCode.USAGE


def test_select_takes_names_and_patterns_and_nothing_else(tmp_path: Path) -> None:
    """A stage gets the variables that its entry lists; upper and lower case differ."""
    variables = {"AWS_KEY": "k", "AWS": "a", "aws_key": "l", "HF_TOKEN": "t", "HF_TOKEN_2": "u", "OTHER": "o"}
    settings = read_settings(tmp_path, variables)
    assert settings.select(["AWS_*", "HF_TOKEN"]) == {"AWS_KEY": "k", "HF_TOKEN": "t"}
    assert settings.select([]) == {}


def test_no_secret_is_among_what_every_stage_gets(tmp_path: Path) -> None:
    """Credentials reach a stage only when configs/stages.yaml says so."""
    secrets = dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "GITHUB_TOKEN"), "s")
    assert read_settings(tmp_path, secrets).select(BASE_VARIABLES) == {}
