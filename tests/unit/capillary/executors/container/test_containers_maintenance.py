"""`capillary ps`, `capillary build` and `capillary clean`, on a daemon that is none."""

import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound, NotFound

from capillary.executors.container import execute, maintenance
from capillary.lifetimes.stop import Stop
from capillary.planning.access import read_access
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode, ServiceError
from tests.support.toy import LIMITS
from tests.unit.capillary.executors.container.fake_daemon import Daemon, refusal

DOOR = f"door: {{network: none, env: [], resume: false, {LIMITS}, image: toy}}\n"
ACCESS = f"toy: {{network: none, env: [], resume: true, {LIMITS}}}\n{DOOR}"
STATE = f"toy@a-{'0' * 16}"


@pytest.fixture(autouse=True)
def project(image_files: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose two stages share an image, and a daemon that has it and no containers."""
    (image_files / "configs").mkdir()
    (image_files / "configs/stages.yaml").write_text(ACCESS)
    daemon.answers |= {"inspect_container": refusal(404, kind=NotFound), "info": {}, "containers": [], "images": []}
    for module in (maintenance, execute):
        monkeypatch.setattr(module, "connect", lambda *_: daemon)
    for name in [name for name in os.environ if name.startswith("CAPILLARY_")]:
        monkeypatch.delenv(name)
    return image_files


def entry(caller: str, state: str = STATE) -> dict[str, Any]:
    labels = {"capillary.address": f"toy@{caller}", "capillary.state": state, "capillary.caller": caller}
    return {"Id": f"id-{caller}", "Names": [f"/name-{caller}"], "Labels": labels, "Status": "Up 2 h", "Image": "i:1"}


@pytest.fixture
def living(project: Path) -> Iterator[str]:
    """The folder of a launcher that lives."""
    folder = project / ".capillary/sandbox/living"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder.name


def rows(text: str) -> list[list[str]]:
    """The cells of a printed table, line by line."""
    cells = ([cell.strip() for cell in line.split("│")] for line in text.splitlines() if "│" in line)
    return [[cell for cell in line if cell] for line in cells]


def test_ps_lists_the_project_s_containers(
    project: Path, daemon: Daemon, living: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By address; and says whose launcher has died."""
    daemon.answers["containers"] = [entry(living), entry("gone")]
    maintenance.show_siblings(project)
    assert rows(capsys.readouterr().out) == [
        ["toy@gone", "name-gone", "Up 2 h", "i:1", "gone"],
        ["toy@living", "name-living", "Up 2 h", "i:1", "runs"],
    ]
    assert daemon.calls("containers")[0][1]["filters"]["label"][0] == f"capillary.project={project}"


def test_ps_says_when_there_is_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No empty table."""
    maintenance.show_siblings(project)
    assert capsys.readouterr().out.splitlines()[-1].endswith("no stage of this project runs in a container")


@pytest.mark.parametrize(("asked", "made"), [([], ["toy", "door"]), (["door"], ["door"])])
def test_build_looks_for_the_image_of_each_stage(
    project: Path,
    daemon: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: list[str],
    made: list[str],
) -> None:
    """Of those that are named, or of all; one that is there is said to be."""
    ensured: list[str] = []
    monkeypatch.setattr(maintenance, "ensure_built", lambda _api, found, *_: ensured.append(found.tag))
    maintenance.build_images(project, asked, Stop())
    assert len(ensured) == len(made)
    out = capsys.readouterr().out
    assert out.count(f"{ensured[0]} is there") == len(made)
    daemon.answers["inspect_image"] = refusal(404, kind=ImageNotFound)
    maintenance.build_images(project, asked, Stop())
    assert "is there" not in capsys.readouterr().out


def test_build_ends_after_a_request_to_stop(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came while the first image was built."""
    stop = Stop()
    ensured: list[object] = []

    def ensure(*arguments: object) -> None:
        ensured.append(arguments)
        stop.receive(signal.SIGINT, None)

    monkeypatch.setattr(maintenance, "ensure_built", ensure)
    maintenance.build_images(project, [], stop)
    assert len(ensured) == 1


def test_build_knows_its_stages(project: Path, daemon: Daemon) -> None:
    """A name that is none is refused before anything is asked."""
    with pytest.raises(CapillaryError, match="there is no stage tox") as caught:
        maintenance.build_images(project, ["toy", "tox"], Stop())
    assert caught.value.code == ExitCode.USAGE
    assert "toy, door" in caught.value.remedy
    assert daemon.asked == []


def test_clean_ends_what_lost_its_launcher(project: Path, daemon: Daemon, living: str) -> None:
    """And sweeps its folder; what runs stays, and so do all resume folders."""
    (project / ".capillary/sandbox/gone").mkdir()
    kept = project / ".capillary/state" / STATE
    kept.mkdir(parents=True)
    torn = project / ".dvc/tmp/rwlock"
    torn.parent.mkdir(parents=True)
    torn.write_text("{")
    daemon.answers["containers"] = [entry(living), entry("gone")]
    maintenance.clean(project, state=False, images=False)
    assert [args for args, _ in daemon.calls("stop")] == [("id-gone",)]
    assert [path.name for path in (project / ".capillary/sandbox").iterdir()] == [living]
    assert kept.is_dir()
    assert not torn.exists()
    assert "images" not in daemon.names


def test_clean_of_state_spares_what_a_container_uses(project: Path, daemon: Daemon, living: str) -> None:
    """Resume folders of runs that ended permanently are removed."""
    states = project / "kept"
    (project / ".env").write_text("CAPILLARY_CHECKPOINT_DIR=kept\n")
    for name in (STATE, f"toy@b-{'1' * 16}"):
        (states / name).mkdir(parents=True)
    daemon.answers["containers"] = [entry(living), entry("gone", f"toy@b-{'1' * 16}")]
    maintenance.clean(project, state=True, images=False)
    assert [path.name for path in states.iterdir()] == [STATE]


def test_clean_of_state_leaves_a_folder_that_other_projects_may_use(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that a shell names for all of them: their stopped trainings would begin anew."""
    state = tmp_path / "scratch" / STATE
    state.mkdir(parents=True)
    (project / ".env").write_text(f"CAPILLARY_CHECKPOINT_DIR={state.parent}\n")
    maintenance.clean(project, state=True, images=False)
    assert state.is_dir()
    assert "outside the project" in capsys.readouterr().out


def image_list(*tags: str) -> list[dict[str, Any]]:
    return [{"RepoTags": list(tags)}, {"RepoTags": None}]


def current_tag(project: Path) -> str:
    settings = read_settings(project)
    return execute.ContainerExecutor(settings).environment(project, "toy", read_access(project, "toy")).tag


def test_clean_of_images_removes_those_whose_files_have_changed(project: Path, daemon: Daemon) -> None:
    """Of this project alone; today's stay."""
    daemon.answers["images"] = image_list("capillary-toy:old", current_tag(project), "capillary-gone:1")
    maintenance.clean(project, state=False, images=True)
    assert daemon.calls("remove_image") == [(("capillary-toy:old",), {}), (("capillary-gone:1",), {})]
    labels = ["capillary.environment", f"capillary.project={project}"]
    assert daemon.calls("images") == [((), {"filters": {"label": labels}})]


def test_an_image_that_a_container_uses_stays(
    project: Path, daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next clean removes it; another refusal is an error."""
    daemon.answers |= {"images": image_list("a:1", "b:1"), "remove_image": refusal(409, "in use")}
    maintenance.clean(project, state=False, images=True)
    assert "a:1 stays: a container uses it" in capsys.readouterr().out
    assert len(daemon.calls("remove_image")) == 2
    daemon.answers["remove_image"] = broken = refusal(500, "internal")
    with pytest.raises(type(broken)):
        maintenance.clean(project, state=False, images=True)


@pytest.mark.parametrize(
    ("images", "executor", "refused"),
    [(False, "auto", False), (False, "process", False), (False, "docker", True), (True, "auto", True)],
)
def test_clean_does_without_a_daemon_what_needs_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, images: bool, executor: str, refused: bool
) -> None:
    """Who asks for images or containers must have one; leftovers on disk go first, either way."""

    def nobody(*_: object) -> None:
        raise ServiceError("the Docker daemon does not answer", remedy="start it")

    monkeypatch.setattr(maintenance, "connect", nobody)
    monkeypatch.setenv("CAPILLARY_EXECUTOR", executor)
    left, state = project / ".capillary/sandbox/gone", project / ".capillary/state" / STATE
    left.mkdir(parents=True)
    state.mkdir(parents=True)
    if refused:
        with pytest.raises(ServiceError):
            maintenance.clean(project, state=True, images=images)
    else:
        maintenance.clean(project, state=True, images=images)
    assert not left.exists()
    assert state.exists() == refused
