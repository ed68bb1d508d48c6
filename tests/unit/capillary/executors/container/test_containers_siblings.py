import fcntl
from pathlib import Path

import pytest
from docker.errors import NotFound

from capillary.executors.container import remove_created
from capillary.executors.container.siblings import STOP_S, Sibling, end, orphans, remove, siblings
from stages.common.errors import CapillaryError
from tests.unit.capillary.executors.container.fake_daemon import Daemon, refusal

GONE = refusal(404, kind=NotFound)
BUSY = refusal(409, "removal of container x is already in progress")
BROKEN = refusal(500, "internal")
REMOVED = [(("c0ffee",), {"force": True, "v": True})]


def sibling(caller: str = "toy-1") -> Sibling:
    return Sibling(
        id="c0ffee", name="capillary-toy", address="toy", state="toy-0", caller=caller, status="Up", image="i"
    )


def test_siblings_are_the_project_s_containers(daemon: Daemon) -> None:
    """Running or not, by their labels."""
    labels = {"capillary.address": "toy@a", "capillary.state": "toy@a-0", "capillary.caller": "toy@a-x"}
    entry = {"Id": "c0ffee", "Names": ["/capillary-toy"], "Labels": labels, "Status": "Up 2 hours", "Image": "i:1"}
    daemon.answers["containers"] = [entry]
    assert siblings(daemon, "/home/me/p") == [
        Sibling(
            id="c0ffee",
            name="capillary-toy",
            address="toy@a",
            state="toy@a-0",
            caller="toy@a-x",
            status="Up 2 hours",
            image="i:1",
        )
    ]
    wanted = {"label": ["capillary.project=/home/me/p", "capillary.caller"]}
    assert daemon.calls("containers") == [((), {"all": True, "filters": wanted})]


def test_a_daemon_that_lists_nothing_is_an_error(daemon: Daemon) -> None:
    """Not a project without containers."""
    daemon.answers["containers"] = BROKEN
    with pytest.raises(CapillaryError, match="could not list containers"):
        siblings(daemon, "/home/me/p")


def test_orphans_are_those_whose_launcher_is_gone(tmp_path: Path) -> None:
    """A launcher holds the lock in its folder as long as it lives."""
    folders = [tmp_path / ".capillary" / "sandbox" / name for name in ("living", "killed")]
    for folder in folders:
        folder.mkdir(parents=True)
    found = [sibling("living"), sibling("killed"), sibling("removed")]
    with (folders[0] / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list(orphans(found, tmp_path)) == found[1:]
    assert list(orphans(found, tmp_path)) == found


def test_an_end_gives_a_stage_time_for_a_checkpoint(daemon: Daemon) -> None:
    """It is stopped, then removed, and that is waited for."""
    end(daemon, sibling())
    assert daemon.names == ["stop", "remove_container", "wait"]
    assert daemon.calls("stop") == [(("c0ffee",), {"timeout": STOP_S})]
    assert daemon.calls("remove_container") == REMOVED
    assert daemon.calls("wait") == [(("c0ffee",), {"timeout": STOP_S, "condition": "removed"})]


def test_an_end_of_what_has_ended_is_well(daemon: Daemon) -> None:
    """It removes itself."""
    daemon.answers |= {"stop": GONE, "remove_container": GONE}
    end(daemon, sibling())
    assert daemon.names == ["stop", "remove_container"]


def test_an_end_that_the_daemon_refuses_is_an_error(daemon: Daemon) -> None:
    """With the container's name."""
    daemon.answers["stop"] = BROKEN
    with pytest.raises(CapillaryError, match="could not end capillary-toy"):
        end(daemon, sibling())
    assert daemon.names == ["stop"]


def test_a_removal_in_progress_is_waited_for(daemon: Daemon) -> None:
    """The name is free afterwards; that the wait finds nothing any more is well."""
    daemon.answers |= {"remove_container": BUSY, "wait": GONE}
    remove(daemon, "c0ffee")
    assert daemon.names == ["remove_container", "wait"]


def test_a_removal_that_the_daemon_refuses_is_an_error(daemon: Daemon) -> None:
    """Nobody would see the container otherwise."""
    daemon.answers["remove_container"] = BROKEN
    with pytest.raises(type(BROKEN)):
        remove(daemon, "c0ffee")


def test_remove_created_removes_what_was_made_and_not_started(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the one launcher; the daemon may still be making it, so it looks more than once."""
    looks = iter([[], [{"Id": "c0ffee"}], []])
    daemon.answers["containers"] = lambda **_: next(looks)
    times = iter([0.0, 0.0, 1.0, 4.9, 5.0])
    monkeypatch.setattr(remove_created, "connect", lambda *_: daemon)
    monkeypatch.setattr("capillary.executors.container.remove_created.time.monotonic", lambda: next(times))
    monkeypatch.setattr("capillary.executors.container.remove_created.time.sleep", lambda _s: None)
    monkeypatch.setattr("sys.argv", ["remove_created", "toy-1", "docker"])
    remove_created.main()
    wanted = {"label": "capillary.caller=toy-1", "status": "created"}
    assert daemon.calls("containers") == [((), {"all": True, "filters": wanted})] * 3
    assert daemon.calls("remove_container") == REMOVED
