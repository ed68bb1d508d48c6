""".env.example is complete: it names what the product reads from .env or the environment, and nothing else."""

import ast
import fnmatch
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from capillary.planning.access import ACCESS_FILE
from capillary.preflight.variables import check_variables
from capillary.setting_values import variable_of
from capillary.settings import BASE_VARIABLES, SETTINGS, TOLD_BY_EXPERIMENTS, read_settings
from tests.support.parts import REPOSITORY

# what a user may set begins so, or is a pattern of configs/stages.yaml
FAMILIES = (
    *("CAPILLARY", "MLFLOW", "AWS", "SOURCE", "ARTIFACTS", "REMOTE", "S3", "POSTGRES", "COMPOSE", "DOCKER"),
    *("CUDA", "GOOGLE", "HF", "DVC", "GLOO", "SERVE", "PROMETHEUS", "GRAFANA", "CONTAINER", "RAY", "DAGSHUB"),
    *("MARQUEZ", "OPENLINEAGE", "PUSHGATEWAY"),
)
NAME = re.compile(rf"(?:{'|'.join(FAMILIES)})_(?:[A-Z0-9_]*[A-Z0-9])")
SHELL = re.compile(rf"\$\{{?({NAME.pattern})")
# the file's own lines
SETTING = re.compile(r"^#?([A-Z][A-Z0-9_]*)=", re.MULTILINE)

# read, and not for .env; by who sets them instead
NOT_FOR_USERS = {
    "the launcher, for the guard of a stage": {"CAPILLARY_POLICY"},
    "an experiment, for its stages": {variable_of(name) for name in TOLD_BY_EXPERIMENTS},
    "DVC": {"DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME"},
    "the code, for a library that it uses": {
        *("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"),
        *("GLOO_SOCKET_IFNAME", "DOCKER_BUILDKIT", "RAY_USAGE_STATS_ENABLED", "DVC_SITE_CACHE_DIR"),
        "DVC_NO_ANALYTICS",
    },
    "the server of the image mlflow, for itself": {
        *("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_WORKERS", "AWS_DEFAULT_REGION"),
    },
    "the cloud, for its machines": {
        *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3"),
    },
    "Docker's own settings: in .env they would reach the dvc-runner, where they mean another place": {"DOCKER_HOST"},
    "the shell, before anything reads .env": {"CAPILLARY_PYTHON", "CAPILLARY_TEST_CHAOS"},
}
# in the file, and read by a program that is not ours
READ_BY_OTHERS = {"COMPOSE_PROJECT_NAME": "docker compose"}


def _programs() -> Iterator[Path]:
    for folder in ("capillary", "stages", "services", "serving"):
        yield from (REPOSITORY / folder).rglob("*.py")


def _read_by_programs() -> set[str]:
    """Texts in the code that are names of variables."""
    trees = (ast.parse(file.read_text()) for file in _programs())
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {node.value for node in nodes if isinstance(node.value, str) and NAME.fullmatch(node.value)}


def _named_in_texts() -> set[str]:
    """Whole names of CAPILLARY_ variables in messages and docstrings."""
    return {name for file in _programs() for name in re.findall(r"\bCAPILLARY_[A-Z0-9_]*[A-Z0-9]\b", file.read_text())}


def _read_by_shells() -> set[str]:
    """${NAME} of docker-compose.yml, the recipes and the wrapper around them."""
    files = [REPOSITORY / name for name in ("docker-compose.yml", "justfile", "just")]
    named = {name for file in files for name in SHELL.findall(file.read_text())}
    assignments = re.findall(rf"\b({NAME.pattern})=", (REPOSITORY / "justfile").read_text())
    return named | set(assignments)


def _patterns() -> set[str]:
    """What configs/stages.yaml hands on, under each of its names, and what every stage gets."""
    entries = yaml.safe_load((REPOSITORY / ACCESS_FILE).read_text()).values()
    pairs = [pair for entry in entries for pair in entry.get("env_from", {}).items()]
    return {name for entry in entries for name in entry.get("env", [])} | {name for pair in pairs for name in pair}


def _of_profiles() -> set[str]:
    """What the dvc-runner makes AWS profiles from."""
    tree = ast.parse((REPOSITORY / "services/runner/profiles.py").read_text())
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Dict)
    }
    return {start + name for start in tables["PROFILES"].values() if start != "S3_" for name in tables["OPTIONS"]}


def _matches(name: str, patterns: set[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


# read by how they begin
FAMILIES_READ = {"CAPILLARY_TORCH_INDEX_*"}
EXCEPTED = {name for names in NOT_FOR_USERS.values() for name in names}
NAMED = set(SETTING.findall((REPOSITORY / ".env.example").read_text()))


@functools.cache
def _read() -> frozenset[str]:
    return frozenset(_read_by_programs() | SETTINGS.keys() | _read_by_shells() | _of_profiles())


def test_what_is_read_is_in_the_file() -> None:
    """Whoever adds a variable tells its users of it, or says here why it is none of theirs."""
    assert sorted(_read() - EXCEPTED - NAMED) == []
    unnamed = {pattern for pattern in _patterns() if not any(_matches(name, {pattern}) for name in NAMED)}
    assert unnamed - EXCEPTED == {"*_proxy"}  # the same as in capitals


def test_no_message_names_a_variable_that_nothing_reads() -> None:
    """A remedy that sets one would change nothing."""
    patterns = FAMILIES_READ | {"CAPILLARY_SERVE", "CAPILLARY_TORCH_INDEX"}
    assert {name for name in _named_in_texts() - _read() if not _matches(name, patterns)} == set()


def test_what_is_in_the_file_is_read() -> None:
    """A line that nobody reads would be set in vain."""
    known = _patterns() | set(BASE_VARIABLES) | FAMILIES_READ
    in_vain = {name for name in NAMED - _read() - READ_BY_OTHERS.keys() if not _matches(name, known)}
    assert in_vain == set()


def test_no_exception_is_left_over() -> None:
    """The list is no longer than it must be."""
    assert {name for name in EXCEPTED if name not in _read() and not _matches(name, _patterns())} == set()
    assert sorted(EXCEPTED & NAMED) == []
    assert READ_BY_OTHERS.keys() <= NAMED - _read()


def test_the_file_sets_nothing_and_names_nothing_twice() -> None:
    """A copy of it changes nothing until a line is uncommented."""
    lines = (REPOSITORY / ".env.example").read_text().splitlines()
    assert all(line.startswith("#") or not line for line in lines)
    settings = [match.group(1) for line in lines if (match := SETTING.match(line))]
    assert len(settings) == len(set(settings))


def test_the_values_in_the_file_are_taken(tmp_path: Path) -> None:
    """Whoever uncomments a line as it is gets no error."""
    lines = (REPOSITORY / ".env.example").read_text().splitlines()
    (tmp_path / ".env").write_text("\n".join(line.removeprefix("#") for line in lines if SETTING.match(line)))
    settings = read_settings(tmp_path, {})
    assert (settings.gpus, settings.memory_abort_gb, settings.shared_cache) == ("0,1", 12, "default")


def test_preflight_knows_every_name_in_the_file() -> None:
    """A variable that the file lists is never called misspelt, nor is one that the code sets."""
    assert list(check_variables(NAMED | EXCEPTED)) == []


def test_preflight_names_what_nothing_reads() -> None:
    """A misspelt name comes with the right one."""
    [check] = check_variables(["CAPILLARY_EXECUTER", "CAPILLARY_COLOUR", "CAPILLARY_TORCH_INDEX_CU128", "PATH"])
    assert (check.name, check.value) == ("settings", "nothing reads CAPILLARY_COLOUR, CAPILLARY_EXECUTER")
    assert "rename CAPILLARY_EXECUTER to CAPILLARY_EXECUTOR" in str(check.remedy)
    assert "remove CAPILLARY_COLOUR" in str(check.remedy)
