"""docker-compose.yml and docker-bake.hcl say what they should; the servers refuse to start without passwords."""

import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capillary.experiments.service_memory import SHARES, memory_variables
from capillary.remote.writing import write_variables
from tests.support.docker.images import build, docker_run
from tests.support.parts import REPOSITORY, command_environment, require

TEAM = {"postgres", "object-store"}
OWN_IMAGES = {"mlflow": "services/mlflow/Dockerfile", "object-store": "services/object-store/Dockerfile"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The compose file alone: no .env of the checkout has a say."""
    require(shutil.which("docker") is not None, "the docker command")
    shutil.copy(REPOSITORY / "docker-compose.yml", tmp_path)
    return tmp_path


def config(folder: Path, *profiles: str, **variables: str) -> dict[str, Any]:
    """The compose file as compose understands it."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    kept = {name: value for name, value in command_environment().items() if not name.startswith("COMPOSE_")}
    done = subprocess.run(
        ["docker", "compose", *chosen, "config", "--format", "json"],
        cwd=folder,
        env={**kept, **variables},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


Shipped = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """The compose file alone with some profiles and no variable; compose is asked once for each."""
    require(shutil.which("docker") is not None, "the docker command")
    folder = tmp_path_factory.mktemp("shipped")
    shutil.copy(REPOSITORY / "docker-compose.yml", folder)
    return functools.cache(lambda *profiles: config(folder, *profiles))


def test_without_a_profile_there_are_the_runner_and_mlflow(shipped: Shipped) -> None:
    """`docker compose up` starts MLflow; the runner waits for its command."""
    services = shipped()
    assert set(services) == {"dvc-runner", "mlflow"}
    assert services["dvc-runner"]["scale"] == 0
    assert services["dvc-runner"]["depends_on"]["mlflow"]["condition"] == "service_healthy"
    assert services["dvc-runner"]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_team_adds_postgres_and_the_object_store(shipped: Shipped) -> None:
    """MLflow waits until both are well."""
    services = shipped("team")
    assert set(services) == {"dvc-runner", "mlflow", *TEAM}
    wanted = {name: services["mlflow"]["depends_on"][name]["condition"] for name in TEAM}
    assert wanted == dict.fromkeys(TEAM, "service_healthy")


def test_nothing_is_published_beyond_this_machine(shipped: Shipped) -> None:
    """Every published port is the loopback's; PostgreSQL has none."""
    services = shipped("team")
    ports = [(name, port["host_ip"]) for name, service in services.items() for port in service.get("ports", [])]
    assert ports == [("mlflow", "127.0.0.1"), ("object-store", "127.0.0.1")]


def test_ports_are_configurable(folder: Path) -> None:
    """Two checkouts on one machine take different ones."""
    services = config(folder, "team", MLFLOW_PORT="5051", S3_PORT="9051")
    assert services["mlflow"]["ports"][0]["published"] == "5051"
    assert services["object-store"]["ports"][0]["published"] == "9051"
    assert not any("container_name" in service for service in services.values())


def test_no_password_has_a_default(folder: Path, shipped: Shipped) -> None:
    """Without .env every secret is empty; nowhere is one on a command line."""
    services = shipped("team")
    secrets = {
        (name, key): value
        for name, service in services.items()
        for key, value in service.get("environment", {}).items()
        if any(word in key for word in ("PASSWORD", "SECRET", "KEY"))
    }
    assert {name for name, _ in secrets} == {"mlflow", "postgres", "object-store", "dvc-runner"}
    assert not any(secrets.values())
    given = config(
        folder, "team", POSTGRES_PASSWORD="pg-word", S3_SECRET_ACCESS_KEY="s3-word", S3_ACCESS_KEY_ID="s3-key"
    )
    for service in given.values():
        line = json.dumps([service.get("command"), service.get("entrypoint"), service.get("healthcheck")])
        assert not any(word in line for word in ("pg-word", "s3-word", "s3-key"))
    assert given["dvc-runner"]["environment"]["POSTGRES_PASSWORD"] == ""


def test_env_is_handed_to_the_runner(folder: Path) -> None:
    """Settings and credentials in .env reach the runner; a tracking server named there goes before compose's own."""
    (folder / ".env").write_text("CAPILLARY_GRACE_S=20\nMLFLOW_TRACKING_URI=https://example.org/x.mlflow\n")
    environment = config(folder)["dvc-runner"]["environment"]
    assert environment["CAPILLARY_GRACE_S"] == "20"
    assert environment["MLFLOW_TRACKING_URI"] == "https://example.org/x.mlflow"


def test_servers_have_health_checks(shipped: Shipped) -> None:
    """PostgreSQL's is in the compose file, those of the project's own images in their Dockerfiles."""
    assert shipped("team")["postgres"]["healthcheck"]["test"][1] == "pg_isready"
    for dockerfile in OWN_IMAGES.values():
        assert "\nHEALTHCHECK " in (REPOSITORY / dockerfile).read_text()


def test_services_have_no_more_rights_than_they_need(shipped: Shipped) -> None:
    """No capability but those named, no way to new ones; the daemon's socket is the runner's alone."""
    services = shipped("team")
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"] is True, name
        sources = [volume["source"] for volume in service["volumes"]]
        assert ("/var/run/docker.sock" in sources) == (name == "dvc-runner")
        assert not service.get("privileged")
    for name in ("mlflow", "object-store"):
        assert services[name]["user"] == "1000:1000"
        assert services[name]["read_only"] is True
        assert not services[name].get("cap_add")


def test_the_runner_outlives_a_stage_s_grace_period(folder: Path, shipped: Shipped) -> None:
    """docker stop gives the runner more time than the runner gives the stages (10 s and 5 s more)."""
    assert shipped()["dvc-runner"]["stop_grace_period"] == "30s"
    assert config(folder, CAPILLARY_STOP_GRACE="90s")["dvc-runner"]["stop_grace_period"] == "1m30s"


EVERY_PROFILE = ("team", "serve", "monitoring", "lineage")


def test_services_have_limits_on_memory(folder: Path, shipped: Shipped) -> None:
    """Each by a variable, so that one that leaks ends alone: shares of the machine, which `just up` writes to .env."""
    usual = {name: int(service["mem_limit"]) >> 20 for name, service in shipped(*EVERY_PROFILE).items()}
    assert set(usual.values()) == {256, 512, 1024, 2048, 4096, 6144}
    write_variables(folder, memory_variables(256 << 30, {}))
    shares = {name: int(service["mem_limit"]) >> 30 for name, service in config(folder, *EVERY_PROFILE).items()}
    assert shares == {**dict.fromkeys(usual, 4), "dvc-runner": 16, "mlflow": 8, "serve": 32}
    changed = config(folder, *EVERY_PROFILE, **dict.fromkeys(SHARES, "3g"))
    assert {service["mem_limit"] for service in changed.values()} == {str(3 << 30)}


def test_builds_get_proxies(folder: Path, shipped: Shipped) -> None:
    """From the environment or .env, and none if there is none: an empty one would hide that of Docker's own file."""
    usual = shipped("team")["mlflow"]["build"]
    assert set(usual["args"]) == {"BASE"}
    (folder / ".env").write_text("HTTPS_PROXY=http://u:p@proxy\n")
    proxied = config(folder, "team", no_proxy="lab", CAPILLARY_BUILD_NETWORK="host")
    builds = [service["build"] for service in proxied.values() if "build" in service]
    assert len(builds) == 3
    for build_of in builds:
        assert build_of["args"]["HTTPS_PROXY"] == "http://u:p@proxy"
        assert build_of["args"]["no_proxy"] == "lab"
        assert build_of["network"] == "host"


def test_a_git_folder_elsewhere_is_mounted(folder: Path) -> None:
    """For a worktree or a submodule; without one nothing is."""

    def source(**variables: str) -> str:
        volumes = config(folder, **variables)["dvc-runner"]["volumes"]
        return next(str(volume["source"]) for volume in volumes if volume["target"] == "/capillary/git")

    assert source() == "/dev/null"
    assert source(CAPILLARY_GIT_DIR="/home/me/main/.git") == "/home/me/main/.git"
    assert source(CAPILLARY_GIT_DIR="../.git") == str(folder.parent / ".git")


def test_networks_that_dvc_keeps_reach_the_service(folder: Path) -> None:
    """Where their folder is named; without that Docker makes none, which would be root's."""

    def mount(**variables: str) -> tuple[str, bool]:
        volumes = config(folder, "serve", **variables)["serve"]["volumes"]
        (found,) = (volume for volume in volumes if volume["target"] == "/project/weights")
        return str(found["source"]), found["read_only"]

    assert mount() == ("/dev/null", True)
    assert mount(CAPILLARY_SERVE_WEIGHTS="./weights") == (str(folder / "weights"), True)


@pytest.mark.parametrize(
    ("service", "variables", "message"),
    [
        ("object-store", {}, "remedy: set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in .env"),
        ("object-store", {"S3_ACCESS_KEY_ID": "a"}, "the object store has no keys"),
        ("object-store", {"S3_ACCESS_KEY_ID": "a", "S3_SECRET_ACCESS_KEY": "short"}, "S3_SECRET_ACCESS_KEY is short"),
        ("object-store", {"S3_ACCESS_KEY_ID": "a", "S3_SECRET_ACCESS_KEY": "long,and,commas"}, "quote or comma"),
        ("mlflow", {"POSTGRES_PASSWORD": "x"}, "the object store's keys are missing"),
    ],
)
@pytest.mark.slow
def test_servers_refuse_to_start_without_passwords(service: str, variables: dict[str, str], message: str) -> None:
    """In one line that names the variable."""
    image, _ = build(OWN_IMAGES[service])
    done = docker_run(*(f"--env={name}={value}" for name, value in variables.items()), image)
    assert done.returncode != 0
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_postgres_refuses_to_start_without_a_password(shipped: Shipped) -> None:
    """Also when its volume is not empty, where the image itself would not mind."""
    program = shipped("team")["postgres"]["entrypoint"][2].replace("$$", "$")
    done = subprocess.run(
        ["sh", "-c", program], env={"POSTGRES_PASSWORD": ""}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: PostgreSQL has no password; remedy: set POSTGRES_PASSWORD in .env")


def bake(*argv: str, **variables: str) -> dict[str, Any]:
    """What `docker buildx bake` would build."""
    require(shutil.which("docker") is not None, "the docker command")
    environment = {**command_environment(), **variables}
    done = subprocess.run(
        ["docker", "buildx", "bake", "--print", *argv],
        cwd=REPOSITORY,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    targets: dict[str, Any] = json.loads(done.stdout)["target"]
    return targets


@functools.cache
def shipped_release() -> dict[str, Any]:
    """What it would build of a release without any variable."""
    return bake("release")


def test_bake_makes_every_image_for_both_architectures() -> None:
    """Each stage (train and evaluate for CPU and for CUDA), an experiment, the runner and the servers, on both."""
    targets = shipped_release()
    torch = {f"{name}-{build}" for name in ("train", "evaluate", "experiment") for build in ("cpu", "cuda")}
    stages = {"ingest", "preprocess", "preflight", *torch}
    assert set(targets) == stages | {"dvc-runner", "mlflow", "object-store", "serve"}
    for name, target in targets.items():
        assert target["platforms"] == ["linux/amd64", "linux/arm64"], name
        assert (REPOSITORY / target["dockerfile"]).is_file()
        assert target.get("target") == ("release" if name in stages else None)
    assert len({tag for target in targets.values() for tag in target["tags"]}) == len(targets)


def test_bake_takes_base_tag_and_index() -> None:
    """A digest for the base, a version, and an index for torch come from the environment."""
    targets = bake(
        "release", BASE="python:x@sha256:y", TAG="1.0", REGISTRY="r/", TORCH_INDEX="one", TORCH_INDEX_CUDA="two"
    )
    assert {target["args"]["BASE"] for target in targets.values()} == {"python:x@sha256:y"}
    assert {target["args"]["VERSION"] for target in targets.values()} == {"1.0"}
    assert targets["train-cpu"]["tags"] == ["r/capillary-train:1.0-cpu"]
    assert targets["train-cpu"]["secret"] == ["id=torch_index,env=TORCH_INDEX"]
    assert targets["train-cuda"]["secret"] == ["id=torch_index,env=TORCH_INDEX_CUDA"]
    assert targets["train-cpu"]["args"]["TORCH_INDEX_ID"] != targets["train-cuda"]["args"]["TORCH_INDEX_ID"]
    assert targets["train-cuda"]["args"]["TORCH"] == "cuda"


def test_bake_passes_proxies_on() -> None:
    """Both spellings, and none if there is none."""
    targets = bake("release", HTTPS_PROXY="http://proxy", no_proxy="lab", TORCH_CUDA="12.6")
    for target in targets.values():
        assert (target["args"]["HTTPS_PROXY"], target["args"]["no_proxy"]) == ("http://proxy", "lab")
    assert not any("PROXY" in name.upper() for target in shipped_release().values() for name in target["args"])
    assert targets["train-cuda"]["args"]["TORCH_CUDA"] == "12.6"
    assert not targets["train-cpu"]["args"]["TORCH_CUDA"]


def test_bake_without_a_name_needs_no_gpu_build() -> None:
    """The default group is what a machine without a GPU needs."""
    assert not any("cuda" in name for name in bake())
