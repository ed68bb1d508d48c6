"""The DevContainer: paths that siblings find, a user who is not root, a GPU only where there is one."""

import json
import re
import shutil
import subprocess
from typing import Any

from tests.support.parts import REPOSITORY, require

FOLDER = REPOSITORY / ".devcontainer"
CONFIG: dict[str, Any] = json.loads(
    re.sub(r"^\s*//.*$", "", (FOLDER / "devcontainer.json").read_text(), flags=re.MULTILINE)
)
# every property that the file may use here, of the published reference (containers.dev, devcontainer.json reference)
PROPERTIES = {
    *("name", "build", "workspaceMount", "workspaceFolder", "mounts", "containerEnv", "remoteEnv", "containerUser"),
    *("remoteUser", "updateRemoteUserUID", "overrideCommand", "init", "privileged", "capAdd", "securityOpt", "runArgs"),
    *("hostRequirements", "forwardPorts", "portsAttributes", "otherPortsAttributes", "features", "customizations"),
    *("initializeCommand", "onCreateCommand", "updateContentCommand", "postCreateCommand", "postStartCommand"),
    *("postAttachCommand", "waitFor", "shutdownAction", "userEnvProbe"),
}


def test_the_properties_are_those_of_the_reference() -> None:
    """A mistyped one would be ignored without a word."""
    assert CONFIG.keys() - PROPERTIES == set()
    assert CONFIG["build"].keys() <= {"dockerfile", "context", "args", "target", "cacheFrom", "options"}
    assert CONFIG["hostRequirements"].keys() <= {"cpus", "memory", "storage", "gpu"}


def test_the_workspace_has_the_same_path_inside_and_outside() -> None:
    """The daemon, and so every sibling container, knows the machine's paths alone."""
    parts = dict(part.split("=", 1) for part in CONFIG["workspaceMount"].split(","))
    assert parts == {"source": "${localWorkspaceFolder}", "target": "${localWorkspaceFolder}", "type": "bind"}
    assert CONFIG["workspaceFolder"] == "${localWorkspaceFolder}"


def test_the_socket_is_there_and_people_are_not_root() -> None:
    """Root prepares the container, by the image's own entry point; commands run as somebody else."""
    assert "source=/var/run/docker.sock,target=/var/run/docker.sock,type=bind" in CONFIG["mounts"]
    assert CONFIG["remoteUser"] == "developer"
    assert CONFIG["overrideCommand"] is False
    assert "privileged" not in CONFIG
    assert f"useradd --uid 1000 --create-home --shell /bin/bash {CONFIG['remoteUser']}" in _dockerfile()


def test_the_environment_is_not_the_machine_s() -> None:
    """A .venv has absolute paths to its Python: the container's own is a volume, given to its user."""
    assert CONFIG["containerEnv"]["DEVCONTAINER_VENV"] == "${localWorkspaceFolder}/.venv"
    assert CONFIG["initializeCommand"] == "mkdir -p .venv"
    assert any("target=${localWorkspaceFolder}/.venv,type=volume" in mount for mount in CONFIG["mounts"])


def test_terminals_find_the_environment_s_commands() -> None:
    """The page's `mlflow ui` is typed before anybody has allowed direnv."""
    assert CONFIG["remoteEnv"]["PATH"] == "${containerWorkspaceFolder}/.venv/bin:${containerEnv:PATH}"


def test_a_gpu_is_optional() -> None:
    """`--gpus` as an argument would keep the container from starting if there is none."""
    assert CONFIG["hostRequirements"]["gpu"] == "optional"
    assert "--gpus" not in str(CONFIG.get("runArgs"))


def test_it_is_set_up_by_the_recipe() -> None:
    """As everywhere else; the pages of JupyterLab and MLflow are forwarded."""
    assert CONFIG["postCreateCommand"] == "./just setup"
    assert CONFIG["forwardPorts"] == [8888, 5000]


def test_the_base_is_an_argument_and_files_reach_the_build() -> None:
    """The same base as the images of the stages; what is copied is on the whitelist of .dockerignore."""
    assert f"ARG BASE={CONFIG['build']['args']['BASE']}\n" in _dockerfile()
    assert f"ARG BASE={CONFIG['build']['args']['BASE']}\n" in (REPOSITORY / "stages/Dockerfile").read_text()
    copied = re.findall(r"^COPY (\S+) ", _dockerfile(), re.MULTILINE)
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert [name for name in copied if not name.startswith("--from") and f"!{name}" not in allowed] == []


def test_direnv_loads_what_is_there() -> None:
    """Without .venv or .env it is not an error, and nothing prints a value."""
    lines = [line for line in (REPOSITORY / ".envrc").read_text().splitlines() if not line.startswith("#")]
    assert "dotenv_if_exists .env" in lines
    assert [line for line in lines if re.search(r"\b(echo|cat|set -x|printf|log_status)\b", line)] == []


def test_the_devcontainer_tool_reads_it() -> None:
    """It takes the file without a complaint."""
    tool = shutil.which("devcontainer")
    require(tool is not None, "the devcontainer command (scripts/ci/devcontainer.sh)")
    argv = [str(tool), "read-configuration", "--workspace-folder", str(REPOSITORY), "--include-merged-configuration"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["workspace"]["workspaceFolder"] == str(REPOSITORY)
    assert found["mergedConfiguration"]["postCreateCommands"] == ["./just setup"]


def _dockerfile() -> str:
    return (FOLDER / "Dockerfile").read_text()
