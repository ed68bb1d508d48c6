"""Plans run on a daemon that is none: its container is a function of each test."""

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path, PurePath
from typing import Any

import pytest

from capillary.compute.memory import default_share
from capillary.executors.container import execute as executing
from capillary.executors.container.execute import ContainerExecutor
from capillary.executors.container.images import Environment
from capillary.lifetimes.stop import Stop, listening
from capillary.settings import ImageSettings, read_settings
from stages.common.errors import CapillaryError, ExitCode, ServiceError
from stages.common.machine.limits import find_limits
from tests.unit.capillary.executors.container.fake_container import Container, Run, finish, work
from tests.unit.capillary.executors.container.fake_daemon import refusal


def test_a_stage_that_ends_well_is_published(run: Run, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its output is shown and kept; its secrets go by its connection, before it starts; nothing is left of it."""
    order: dict[str, Any] = {}
    state = root / "state"
    run.change(environment={"TOKEN": "s3cr3t"}, writable=(state,))

    def program(container: Container) -> int:
        order.update(container.start_line())
        return finish(container)

    assert run(program) == 0
    assert run.published == ["made"]
    assert order == {"environment": {"TOKEN": "s3cr3t"}, "grace_s": 30.0}
    assert "s3cr3t" not in json.dumps(run.daemon.bodies)
    out, err = capfd.readouterr()
    assert (out, err) == ("on stdout\n", "on stderr\n")
    (log,) = (root / ".capillary/logs").iterdir()
    assert sorted(log.read_text().splitlines()) == ["on stderr", "on stdout"]
    assert state.is_dir()
    assert run.left == []
    calls = [name for name in run.daemon.names if name in {"attach_socket", "events", "start", "containers"}]
    assert calls == ["containers", "attach_socket", "events", "start", "containers"]
    streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    assert run.daemon.calls("attach_socket") == [(("c0ffee", streams), {})]
    (_, mine), (_, left) = run.daemon.calls("containers")
    assert mine["filters"]["label"] == [f"capillary.project={root}", "capillary.caller"]
    assert left["filters"]["label"] == f"capillary.caller={run.daemon.bodies[0]['Labels']['capillary.caller']}"


def test_the_environment_is_the_image_and_the_kind_of_machine(run: Run) -> None:
    """The daemon's machine, which may be another one than this."""
    run()
    assert run.identity == [run.daemon.bodies[0]["Image"], "arm64"]
    assert run.identity[0].startswith("capillary-toy:")


def test_a_stage_may_be_silent_for_as_long_as_it_likes(run: Run) -> None:
    """The client's limit for answers does not hold for what a stage prints."""
    limits: list[float | None] = []

    def program(container: Container) -> int:
        code = work(container)
        limits.append(run.daemon.near.gettimeout())
        return code

    assert run(program) == 0
    assert limits == [None]


def test_the_image_is_built_before_its_container_is_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of launchers that need it one builds: they agree by a lock in the project."""
    built: list[tuple[str, str, Path, int]] = []

    def ensure(_api: object, environment: Environment, settings: ImageSettings, folder: Path, _stop: Stop) -> None:
        built.append((environment.tag, settings.base, folder, len(run.daemon.bodies)))

    monkeypatch.setattr(executing, "ensure_built", ensure)
    run(CAPILLARY_BASE_IMAGE="base")
    assert built == [(run.daemon.bodies[0]["Image"], "base", run.plan.repository / ".capillary", 0)]


def test_a_stage_that_fails_publishes_nothing(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    """Its exit code is kept, and the log is named."""

    def program(container: Container) -> int:
        work(container)
        return 3

    assert run(program) == 3
    assert run.published == []
    assert "log: .capillary/logs/toy@a-" in capfd.readouterr().err
    assert run.left == []


def test_a_closed_terminal_does_not_end_a_stage_that_checkpoints(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage was asked to stop, and prints while it writes; what nobody sees is in the log."""
    leader, terminal = os.openpty()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(os.fdopen(terminal, "wb")))
    saved = []

    def program(container: Container) -> int:
        container.start_line()
        os.close(leader)
        container.say(1, "epoch 3\n")
        saved.append("checkpoint" if container.lines.readline() else "killed")
        return 143

    stop = Stop()
    threading.Timer(0.5, stop.receive, (signal.SIGHUP, None)).start()
    assert run(program, stop) == 143
    assert saved == ["checkpoint"]
    (log,) = (run.plan.repository / ".capillary/logs").iterdir()
    assert log.read_text() == "epoch 3\n"


def test_outs_are_checked_before_they_are_published(run: Run) -> None:
    """A stage that ended well has to have made them."""

    def program(container: Container) -> int:
        container.start_line()
        return 0

    with pytest.raises(CapillaryError, match="without writing its out data/out"):
        run(program)
    assert run.published == []
    assert run.left == []


@pytest.mark.parametrize("place", ["data/out", "data/out/deep/id_rsa"])
@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "pipe"])
def test_what_a_container_leaves_is_not_trusted(run: Run, tmp_path: Path, place: str, kind: str) -> None:
    """A link of its to one of the user's keys would be read, cached and pushed; nothing of the stage is published."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_rsa").write_text("a key")

    def program(container: Container) -> int:
        container.start_line()
        left = container.folder("data") / PurePath(place).relative_to("data")
        left.parent.mkdir(parents=True, exist_ok=True)
        if kind == "pipe":
            os.mkfifo(left)
        else:
            left.symlink_to(tmp_path / ".ssh" / ("id_rsa" if kind == "link to a file" else ""))
        return 0

    with pytest.raises(CapillaryError, match=f"(is|holds) a {kind.split()[0]}") as refused:
        run(program)
    assert refused.value.code == ExitCode.UNDECLARED
    assert run.published == []
    assert run.left == []


def test_a_daemon_that_goes_away_is_named(run: Run) -> None:
    """Nobody knows how the stage ended; what is left of it is removed when the daemon answers again."""

    def program(_container: Container) -> None:
        """Ends with the order unread: the connection breaks."""

    run.daemon.answers["containers"] = lambda **more: [{"Id": "left"}] if run.daemon.bodies else []
    with pytest.raises(ServiceError, match="stopped answering while it was asked to run toy@a"):
        run(program)
    assert run.published == []
    assert [args for args, _ in run.daemon.calls("remove_container")] == [("left",)]


def test_a_container_that_cannot_start_is_removed(run: Run) -> None:
    """With the daemon's reason."""
    run.daemon.answers["start"] = refusal(500, "no space left on device")
    run.daemon.answers["containers"] = lambda **more: [{"Id": "c0ffee"}] if run.daemon.bodies else []
    with pytest.raises(CapillaryError, match="could not run toy@a") as caught:
        run()
    assert "docker system df" in caught.value.remedy
    assert [args for args, _ in run.daemon.calls("remove_container")] == [("c0ffee",)]
    assert run.left == []


def test_a_daemon_that_no_longer_lists_containers_does_not_hide_how_the_stage_ended(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    """The container ends by itself."""

    def containers(**_: object) -> list[dict[str, str]]:
        if run.daemon.bodies:
            raise refusal(500, "internal")
        return []

    run.daemon.answers["containers"] = containers
    assert run() == 0
    assert run.published == ["made"]
    assert "no longer says whether the container has ended (APIError)" in capfd.readouterr().err


def test_after_a_request_to_stop_no_container_is_made(run: Run) -> None:
    """It came while the plan was made."""
    stop = Stop()
    stop.receive(signal.SIGTERM, None)
    assert run(stop=stop) == 143
    assert run.daemon.bodies == []
    assert run.left == []


@pytest.mark.parametrize("code", [143, 0])
def test_a_request_reaches_the_stage(run: Run, code: int) -> None:
    """By its connection; what was finished all the same is published."""
    heard: list[str] = []
    stop = Stop()

    def program(container: Container) -> int:
        container.start_line()
        heard.append(container.lines.readline())
        (container.folder("data") / "out").write_text("made")
        return code

    start = run.daemon.answers["start"]

    def asked_while_starting(container: str) -> None:
        stop.receive(signal.SIGTERM, None)
        start(container)

    run.daemon.answers["start"] = asked_while_starting
    assert run(program, stop) == 143
    assert heard == ["15\n"]
    assert run.published == (["made"] if code == 0 else [])


def test_a_stage_that_does_not_end_is_killed(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """First its supervisor is asked to, then the daemon."""
    heard: list[str] = []
    removed = threading.Event()
    monkeypatch.setattr(executing, "KILL_PATIENCE_S", 0.0)
    run.change(grace_s=0.05)
    run.daemon.answers["remove_container"] = lambda *_, **__: removed.set()

    with listening() as stop:
        start = run.daemon.answers["start"]

        def asked_while_starting(container: str) -> None:
            stop.receive(signal.SIGTERM, None)
            start(container)

        def program(container: Container) -> int:
            container.start_line()
            heard.extend(container.lines.readline() for _ in range(2))
            removed.wait(30)
            return 137

        run.daemon.answers["start"] = asked_while_starting
        assert run(program, stop) == 143
    assert heard == ["15\n", "9\n"]
    assert run.daemon.calls("remove_container") == [(("c0ffee",), {"force": True, "v": True})]
    assert "did not end within 0.05 s" in capfd.readouterr().err


def test_a_container_whose_launcher_is_gone_is_ended_before_its_state_is_taken_up(run: Run) -> None:
    """Two would write it; containers of other stages, and those whose launcher lives, stay."""

    def entry(name: str, state: str) -> dict[str, Any]:
        labels = {"capillary.address": "toy@a", "capillary.state": state, "capillary.caller": name}
        return {"Id": name, "Names": [f"/{name}"], "Labels": labels, "Status": "Up", "Image": "i"}

    listed = [entry("mine", run.plan.state_dir.name), entry("other", "toy@b-1")]
    run.daemon.answers["containers"] = lambda **_: listed if not run.daemon.bodies else []
    assert run() == 0
    assert [args for args, _ in run.daemon.calls("stop")] == [("mine",)]
    assert run.daemon.names.index("stop") < run.daemon.names.index("create_container_from_config")


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_bars_suit_the_user_s_terminal(run: Run, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    """The container has none of its own: it is told that there is one, and how wide it is now."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("COLUMNS", "93")
    run.change(user_environment={"COLUMNS": "200", "LANG": "C"})
    assert run() == 0
    told = {entry for entry in run.daemon.bodies[0]["Env"] if entry.startswith(("COLUMNS", "TTY_", "LANG"))}
    wanted = {"TTY_COMPATIBLE=1", "TTY_INTERACTIVE=1", "COLUMNS=93"} if terminal else {"COLUMNS=200"}
    assert told == {"LANG=C", *wanted}
    assert run.daemon.bodies[0]["Image"].startswith("capillary-toy:")


def test_stages_have_the_memory_of_the_daemon_s_machine(run: Run) -> None:
    """A launcher in a container with its own limit plans for more than it may take itself."""
    run.daemon.answers["info"] = {"MemTotal": 64 << 30}
    executor = ContainerExecutor(read_settings(run.plan.repository, {}))
    assert executor.limits().memory_bytes == 64 << 30
    run.daemon.answers["info"] = {}
    assert executor.limits() == find_limits()


@pytest.mark.parametrize(("variables", "share"), [({}, 1), ({"CAPILLARY_SIDE_BY_SIDE": "4"}, 4)])
def test_a_container_has_a_share_of_the_machine(run: Run, variables: dict[str, str], share: int) -> None:
    """As many as an experiment runs at once divide it; the stage's result knows nothing of it."""
    run.daemon.answers["info"] = {"MemTotal": 64 << 30}
    assert run(**variables) == 0
    assert run.daemon.bodies[-1]["HostConfig"]["Memory"] == default_share(64 << 30, share)
    assert not any("SIDE_BY_SIDE" in entry for entry in run.daemon.bodies[-1]["Env"])
