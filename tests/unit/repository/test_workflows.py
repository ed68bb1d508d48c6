"""Rules for workflows: pinned actions, least rights, no text of strangers in a shell, docs that name what they need."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.parts import REPOSITORY
from tests.support.workflows import FILES, jobs, read, steps

JOBS = dict(jobs())
STEPS = dict(steps())
RUNS = {name: step for name, step in STEPS.items() if "run" in step}
USES = re.compile(r"uses: (\S+)(.*)")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)


def _used() -> list[tuple[str, str, str]]:
    """(file, action, what follows on its line) of every action that is not of this repository."""
    found = [(file.name, *USES.search(line).groups()) for file in FILES for line in _lines(file) if USES.search(line)]  # type: ignore[union-attr]
    return [each for each in found if not each[1].startswith("./")]


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


@pytest.mark.parametrize(("file", "action", "rest"), _used())
def test_an_action_is_pinned_by_its_commit(file: str, action: str, rest: str) -> None:
    """A tag can be moved to other code, a commit cannot; its version is next to it, for people and Dependabot."""
    assert PINNED.fullmatch(action), file
    assert re.fullmatch(r" # v\d+\.\d+\.\d+", rest), file


def test_an_action_has_one_version() -> None:
    """An update that misses a place is seen."""
    commits: dict[str, set[str]] = {}
    for _, action, rest in _used():
        name, _, commit = action.partition("@")
        commits.setdefault(name, set()).add(commit + rest)
    assert {name for name, found in commits.items() if len(found) > 1} == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_begins_without_rights(file: Path) -> None:
    """Each job names what it needs; runs of one kind do not overtake each other."""
    workflow = read(file)
    assert workflow["permissions"] == {}
    assert "group" in workflow["concurrency"]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_names_its_rights_and_its_longest_time(name: str) -> None:
    """No job has the token's default rights, or GitHub's six hours."""
    job = JOBS[name]
    assert job["permissions"]
    assert set(job["permissions"].values()) <= {"read", "write"}
    assert "uses" in job or job["timeout-minutes"] > 0


def test_no_workflow_gives_strangers_rights() -> None:
    """Both triggers run with this repository's secrets on behalf of a fork."""
    triggers = {name for file in FILES for name in read(file)["on"]}
    assert triggers & {"pull_request_target", "workflow_run", "issue_comment"} == set()


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if "checkout@" in step.get("uses", "")])
def test_a_checkout_keeps_no_token(name: str) -> None:
    """What runs after it cannot read the token from .git/config."""
    assert STEPS[name]["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", RUNS)
def test_a_shell_gets_values_through_its_environment(name: str) -> None:
    """GitHub pastes an expression into the script as it is: a branch's name would be a command."""
    assert EXPRESSION.findall(RUNS[name]["run"]) == []


@pytest.mark.parametrize("name", STEPS)
def test_a_secret_is_in_the_environment_of_its_step_alone(name: str) -> None:
    """Not in an action's inputs, not in a command, and only where an environment holds it."""
    step = STEPS[name]
    elsewhere = {key: value for key, value in step.items() if key != "env"}
    assert "secrets." not in str(elsewhere)
    if "secrets." in str(step):
        assert JOBS[name.rpartition(".")[0]]["environment"]


def test_no_secret_is_in_a_whole_job_or_workflow() -> None:
    """Every step would have it."""
    assert [file.name for file in FILES if "secrets." in str(read(file).get("env"))] == []
    assert [name for name, job in JOBS.items() if "secrets." in str(job.get("env")) or job.get("secrets")] == []


def test_the_scripts_are_there_and_called() -> None:
    """No workflow names a script that was moved; no script is left that none calls."""
    text = "\n".join(step["run"] for step in RUNS.values())
    called = {f"scripts/ci/{name}.py" for name in re.findall(r"-m scripts\.ci\.(\w+)", text)}
    called |= set(re.findall(r"scripts/ci/\w+\.\w+", text))
    present = {f"scripts/ci/{file.name}" for file in (REPOSITORY / "scripts" / "ci").glob("*.*")}
    assert called == present - {"scripts/ci/markdown.py"}


def test_every_dockerfile_is_built_and_scanned() -> None:
    """An image that is added to the product is added to its release."""
    include: list[dict[str, Any]] = JOBS["images.image"]["strategy"]["matrix"]["include"]
    services = {str(file.relative_to(REPOSITORY)) for file in REPOSITORY.glob("services/*/Dockerfile")}
    own = {"Dockerfile.dvc-runner", "Dockerfile.release", "serving/Dockerfile", "stages/Dockerfile"}
    assert {entry["file"] for entry in include} == services | own
    of_stages = {entry["stage"] for entry in include if entry["file"] == "stages/Dockerfile"}
    assert of_stages == {file.parent.name for file in REPOSITORY.glob("stages/*/requirements.txt")}
    torch = {(entry["name"], entry["torch"]) for entry in include if "torch" in entry}
    both = {(name, build) for name in ("train", "evaluate", "experiment") for build in ("cpu", "cuda")}
    assert torch == both | {("serve", "cpu")}
    with_code = ("stages/", "Dockerfile.release")
    assert all(("target" in entry) == entry["file"].startswith(with_code) for entry in include)


def test_the_base_is_the_one_of_the_dockerfiles() -> None:
    """A release is built on what is tested, with a digest once the first update has pinned it."""
    base = (REPOSITORY / ".github" / "base-image").read_text().strip()
    name, _, digest = base.partition("@")
    assert f"ARG BASE={name}\n" in (REPOSITORY / "Dockerfile.dvc-runner").read_text()
    assert re.fullmatch(r"(sha256:[0-9a-f]{64})?", digest)


def test_actionlint_knows_the_labels_of_runners() -> None:
    """It takes a label that neither GitHub nor its configuration has for a mistake."""
    config = yaml.safe_load((REPOSITORY / ".github" / "actionlint.yaml").read_text())
    own = [job["runs-on"] for job in JOBS.values() if isinstance(job.get("runs-on"), list)]
    labels = {label for row in own for label in row} - {"self-hosted", "linux"}
    assert labels == set(config["self-hosted-runner"]["labels"])


def test_the_docs_name_every_workflow_secret_and_variable() -> None:
    """Whoever uses a workflow in their own repository finds what to set."""
    page = (REPOSITORY / "docs" / "ci.md").read_text()
    text = "\n".join(file.read_text() for file in FILES)
    names = {f"`{name}`" for name in re.findall(r"(?:secrets|vars)\.(\w+)", text)}
    names |= {f"`{file.name}`" for file in FILES}
    names |= {f"`{job['environment']}`" for job in JOBS.values() if "environment" in job}
    assert {name for name in names if name not in page} == set()
