"""`capillary sync` on an outbox, without a server."""

from pathlib import Path

import pytest

from stages.common.errors import ServiceError
from stages.common.registered.waiting import State
from stages.common.tracking.spool.folder import Spool
from stages.common.tracking.spool.listing import spools_in
from stages.sync.sync import publish_all, sync
from tests.support.tracking.mlflow_fake import AWAY, REVOKED, FakeMlflow, nothing
from tests.unit.stages.common.tracking.opened import Clock
from tests.unit.stages.common.tracking.spool.made import POINTS, fill, to, write


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two finished runs, and one whose stage was killed."""
    Clock(monkeypatch)
    for fingerprint in ("one", "two"):
        writer = write(tmp_path / "outbox", fingerprint=fingerprint)
        fill(writer)
        writer.close()
    writer = write(tmp_path / "outbox", fingerprint="stopped")
    writer.add_points({"loss": 1.0}, 0, 1)
    writer.close()
    return tmp_path / "outbox"


def test_everything_is_published_and_a_second_time_changes_nothing(
    outbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is complete goes; a run that its stage may go on with stays, and is not sent twice."""
    fake = FakeMlflow()
    for _ in range(2):
        sync(outbox, to(fake, outbox))
    assert sorted(len(fake.points(run)) for run in fake.runs) == [1, len(POINTS), len(POINTS)]
    assert sorted(run.info.status for run in fake.runs.values()) == ["FINISHED", "FINISHED", "RUNNING"]
    assert len(list(outbox.iterdir())) == 1
    said = capsys.readouterr().out
    assert "2 published, 1 published so far" in said
    sync(outbox.with_name("other"), to(fake, outbox))
    assert "nothing waits" in capsys.readouterr().out


@pytest.mark.parametrize("error", [AWAY, REVOKED])
def test_what_waits_still_and_why_is_said(outbox: Path, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    """A service error that names the runs; one that does not answer is asked once, and nothing is lost."""
    fake, asked = FakeMlflow(), []

    def fail(what: str) -> None:
        asked.append(what)
        raise error

    fake.before = fail
    with pytest.raises(ServiceError, match="still wait: MLflow at http://h:1") as caught:
        sync(outbox, to(fake, outbox))
    assert "repeat `capillary sync`" in caught.value.remedy
    assert len(asked) == (3 if error is REVOKED else 4)  # an outage of moments is waited for
    assert capsys.readouterr().out.count("still waits") >= 3
    fake.before = nothing
    sync(outbox, to(fake, outbox))
    assert len(fake.runs) == 3


def test_a_run_is_held_while_it_is_sent(outbox: Path) -> None:
    """By both locks, so that neither its training nor another `capillary sync` changes it; not afterwards."""
    fake, held = FakeMlflow(), []

    def look(_what: str = "") -> None:
        held.append([name for spool in spools_in(outbox) for name in ("sender", "writer") if _is_held(spool, name)])

    fake.before = look
    sync(outbox, to(fake, outbox))
    assert {tuple(names) for names in held} == {("sender", "writer")}
    look()
    assert held[-1] == []


def _is_held(spool: Spool, name: str) -> bool:
    if (lock := spool.lock(name)) is not None:
        lock.close()
    return lock is None


@pytest.mark.parametrize("name", ["writer", "sender"])
def test_a_run_that_another_process_has_is_left_to_it(outbox: Path, name: str) -> None:
    """Two people at once, or a training that still runs: each run is sent by one of them."""
    first, *others = list(spools_in(outbox))
    lock = first.lock(name)
    assert lock is not None
    results = publish_all([first, *others], to(FakeMlflow(), outbox))
    assert results[0].state is State.BUSY
    assert {one.state for one in results[1:]} == {State.PUBLISHED, State.UNFINISHED}
    lock.close()


def test_a_run_that_cannot_be_published_is_named_and_holds_up_no_other(
    outbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that became a link, a folder of a later version, one that is gone meanwhile: the others are sent."""
    first, _, third = spools = list(spools_in(outbox))
    (first.folder / "sender.lock").symlink_to(outbox)
    third.remove()
    (outbox / "later").mkdir()
    (outbox / "later" / "head.json").write_text('{"form": 2}')
    results = publish_all(spools, to(FakeMlflow(), outbox))
    assert [one.state for one in results] == [State.WAITING, State.UNFINISHED, State.BUSY]
    with pytest.raises(ServiceError, match=f"{first.folder.name} still waits"):
        sync(outbox, to(FakeMlflow(), outbox))
    assert f"{outbox / 'later'} is not a run of this version of capillary" in capsys.readouterr().out


def test_a_refusal_of_one_training_is_no_outage(outbox: Path) -> None:
    """The registry will not have one of them: the runs behind it are asked for all the same."""

    def refuse(*_args: object) -> None:
        raise ServiceError("the registry does not take it", remedy="x")

    results = publish_all(list(spools_in(outbox)), to(FakeMlflow(), outbox, refuse))
    assert [one.state for one in results] == [State.WAITING, State.UNFINISHED, State.WAITING]
