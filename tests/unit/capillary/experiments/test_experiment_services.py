import signal
import socket
from pathlib import Path

import pytest
from dotenv import dotenv_values

from capillary.experiments import services
from capillary.experiments.service_memory import SHARES, memory_variables
from capillary.experiments.services import down, logs, start_services, up
from capillary.settings import read_settings
from stages.common.errors import ServiceError


@pytest.fixture
def no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which starting anything would be seen: there is no docker command."""
    monkeypatch.setenv("PATH", str(tmp_path))


def start(root: Path, uri: str | None, docker_profile: str = "dev") -> None:
    variables = {} if uri is None else {"MLFLOW_TRACKING_URI": uri}
    start_services(root, read_settings(root, variables), docker_profile)


@pytest.mark.usefixtures("no_docker")
@pytest.mark.parametrize("uri", [None, "sqlite:///mlruns/mlflow.db", "https://dagshub.com/a/b.mlflow", "databricks"])
def test_what_is_not_ours_to_start_is_left_alone(tmp_path: Path, uri: str | None) -> None:
    """The embedded store is not a service, and another machine's server has its own keepers."""
    start(tmp_path, uri)


@pytest.mark.usefixtures("no_docker")
def test_a_server_that_listens_is_not_started_again(tmp_path: Path) -> None:
    """Whoever started it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        start(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}")


def free_uri() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://localhost:{server.getsockname()[1]}"


@pytest.mark.usefixtures("no_docker")
def test_a_server_that_is_missing_cannot_be_started_without_docker(tmp_path: Path) -> None:
    """The remedy names the way without a service."""
    with pytest.raises(ServiceError, match="no docker command") as caught:
        start(tmp_path, free_uri())
    assert "mlruns/mlflow.db" in caught.value.remedy


@pytest.mark.usefixtures("no_docker")
def test_who_wants_none_started_gets_none(tmp_path: Path) -> None:
    """compute.docker_profile: none."""
    start(tmp_path, free_uri(), "none")


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("http://localhost:5000", ("localhost", 5000)),
        ("http://127.0.0.1", ("127.0.0.1", 80)),
        ("https://[::1]/mlflow", ("::1", 443)),
    ],
)
def test_the_server_is_looked_for_where_the_address_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, place: tuple[str, int]
) -> None:
    """Every name of this machine; an address without a port has its scheme's."""
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(services, "_listens", lambda host, port: asked.append((host, port)) or True)
    start(tmp_path, uri)
    assert asked == [place]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker command that ends as the file `code` says; it notes its folder and arguments in `called`.

    It says that its machine has 32 GiB.
    """
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    tell_memory = f'[ "$1" = info ] && echo {32 << 30} && exit'
    note_call = f'echo "$PWD $*" >> {tmp_path}/called'
    program.write_text(f"#!/bin/sh\n{tell_memory}\n{note_call}\nexit $(cat {tmp_path}/code)\n")
    program.chmod(0o755)
    (tmp_path / "code").write_text("0")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize(("docker_profile", "chosen"), [("dev", ""), ("team", "--profile team ")])
def test_missing_services_are_started_and_waited_for(docker: Path, docker_profile: str, chosen: str) -> None:
    """Compose starts those of the profile in the project's folder and returns when they are healthy."""
    start(docker, free_uri(), docker_profile)
    arguments = f"compose {chosen}up --detach --wait --wait-timeout 180"
    assert (docker / "called").read_text() == f"{docker} {arguments}\n"


def test_services_that_do_not_come_up_are_named(docker: Path) -> None:
    """The command that failed is Docker's; where to look is said."""
    (docker / "code").write_text("1")
    with pytest.raises(ServiceError, match="profile `team` did not become healthy") as caught:
        start(docker, free_uri(), "team")
    assert "./just logs" in caught.value.remedy
    assert caught.value.file == docker / "docker-compose.yml"


def test_services_that_are_healthy_are_told_with_their_address(
    docker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the port that .env chooses."""
    (docker / ".env").write_text("MLFLOW_PORT=5051\n")
    up(docker, "dev")
    assert "MLflow is at http://127.0.0.1:5051" in capsys.readouterr().out


def test_limits_on_memory_are_shares_of_the_machine_and_what_is_set_stays(docker: Path) -> None:
    """In .env, with everything else in it; a second time nothing changes."""
    (docker / ".env").write_text("MLFLOW_PORT=5051\nCAPILLARY_S3_MEMORY=0\n")
    up(docker, "dev")
    written = (docker / ".env").read_text()
    found = dotenv_values(docker / ".env")
    assert found.pop("MLFLOW_PORT") == "5051"
    assert found == {
        "CAPILLARY_S3_MEMORY": "0",
        "CAPILLARY_RUNNER_MEMORY": "4096m",
        "CAPILLARY_MLFLOW_MEMORY": "2048m",
        "CAPILLARY_POSTGRES_MEMORY": "1024m",
        "CAPILLARY_SERVE_MEMORY": "8192m",
        "CAPILLARY_MONITORING_MEMORY": "1024m",
        "CAPILLARY_LINEAGE_MEMORY": "1024m",
    }
    up(docker, "dev")
    assert (docker / ".env").read_text() == written


@pytest.mark.parametrize("gib", [1, 4, 8, 16, 64, 256, 2048])
def test_a_share_is_neither_too_small_to_start_nor_wasted(gib: int) -> None:
    """On a small machine and on a large one."""
    values = memory_variables(gib << 30, {})
    for name, share in SHARES.items():
        mib = int(values[name].removesuffix("m"))
        assert share.least_mib <= mib <= share.most_mib
        assert mib in (share.least_mib, share.most_mib) or mib == gib * 1024 * share.of_machine


@pytest.mark.parametrize("fault", ["a link", "docker does not tell"])
def test_limits_that_cannot_be_written_cost_no_service(docker: Path, fault: str) -> None:
    """Those of docker-compose.yml hold then."""
    if fault == "a link":
        (docker / "shared").write_text("A=1\n")
        (docker / ".env").symlink_to(docker / "shared")
    else:
        program = docker / "bin" / "docker"
        program.write_text(program.read_text().replace(str(32 << 30), "0"))
    up(docker, "dev")
    assert "compose up" in (docker / "called").read_text()
    assert (docker / ".env").exists() == (fault == "a link")
    assert (docker / ".env").is_symlink() == (fault == "a link")


def test_services_are_stopped_and_their_data_stays(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of every profile; how to delete the data is said, not done."""
    down(docker)
    assert (docker / "called").read_text() == f"{docker} compose --profile team down\n"
    assert "docker compose --profile team down --volumes" in capsys.readouterr().out
    (docker / "code").write_text("1")
    with pytest.raises(ServiceError, match="could not be stopped"):
        down(docker)


@pytest.mark.parametrize(("names", "words"), [([], ""), (["mlflow", "postgres"], " mlflow postgres")])
def test_logs_are_followed(docker: Path, names: list[str], words: str) -> None:
    """Of all services, or of those named; Compose's exit code is the command's, and Ctrl-C is not a failure."""
    assert logs(docker, names) == 0
    assert (docker / "called").read_text() == f"{docker} compose --profile team logs --follow --tail 100{words}\n"
    for code, expected in ((1, 1), (130, 0)):
        (docker / "code").write_text(str(code))
        assert logs(docker, names) == expected


def test_who_interrupts_is_told_of_no_failure(docker: Path) -> None:
    """Compose ends with 130."""
    (docker / "code").write_text("130")
    for ask in (lambda: up(docker, "dev"), lambda: down(docker)):
        with pytest.raises(KeyboardInterrupt):
            ask()


def test_ctrl_c_reaches_compose_which_ends_in_its_own_way(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no terminal has told it; it is waited for."""
    told: list[int] = []

    class Compose:
        def __init__(self, *_argv: object, **_options: object) -> None:
            self.answers = iter((KeyboardInterrupt(), 130))

        def wait(self) -> int:
            answer = next(self.answers)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        def send_signal(self, number: int) -> None:
            told.append(number)

    monkeypatch.setattr("capillary.experiments.services.subprocess.Popen", Compose)
    assert logs(docker, []) == 0
    assert told == [signal.SIGINT]


@pytest.mark.usefixtures("no_docker")
def test_without_docker_there_are_no_services(tmp_path: Path) -> None:
    """Said by each command."""
    for ask in (lambda: up(tmp_path, "dev"), lambda: down(tmp_path), lambda: logs(tmp_path, [])):
        with pytest.raises(ServiceError, match="no docker command"):
            ask()
