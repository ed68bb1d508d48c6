"""Runs whose server is away, refuses or never answers: what stops nothing, what waits, and what the user reads."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import DataError, ExitCode, ServiceError
from stages.common.runtime import Runtime
from stages.common.tracking import runs
from stages.common.tracking.server import Server
from stages.common.tracking.spool import sender
from stages.common.tracking.spool.folder import Spool
from stages.common.tracking.spool.listing import last_status, spools_in
from tests.support.tracking.mlflow_fake import AWAY, REVOKED, FakeMlflow
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.common.tracking.opened import CELL
from tests.unit.stages.common.tracking.spool.made import URI

FAULTS = ("dead", "revoked", "black hole")


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """A training whose server is `URI`."""
    return dataclasses.replace(embedded_runtime(tmp_path), tracking_uri=URI)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMlflow]:
    """The server at URI. Once it is broken, nobody waits long for it."""
    fake = FakeMlflow()
    fake.__dict__ |= {"impatience": monkeypatch, "end_of_test": threading.Event()}
    monkeypatch.setattr(runs, "connect", lambda _runtime: Server(client=fake, uri=URI))  # type: ignore[arg-type]
    monkeypatch.setattr(Server, "call", lambda server, what, ask, patience_s=0: _once(server, what, ask))
    yield fake
    fake.end_of_test.set()


_CALL = Server.call


def _once(server: Server, what: str, ask: Any) -> Any:
    return _CALL(server, what, ask, 0.0)


def break_down(fake: FakeMlflow, fault: str) -> None:
    """From now on `fake` answers no question, or refuses each."""
    for module, name in ((sender, "ANSWER_PATIENCE_S"), (runs, "START_PATIENCE_S"), (runs, "FAILED_PATIENCE_S")):
        fake.impatience.setattr(module, name, 0.1)

    def ask(_what: str) -> None:
        if fault == "black hole":
            fake.end_of_test.wait()
        raise AWAY if fault == "dead" else REVOKED

    fake.before = ask


def train(runtime: Runtime, fake: FakeMlflow, fault: str, at: int) -> None:
    """Four epochs; the server breaks down before epoch `at`."""
    if at == 0:
        break_down(fake, fault)
    with runs.open_run(runtime, cell_tags=CELL, run_name="run", system_metrics=False) as run:
        run.log_params({"rate": 0.1})
        for epoch in range(4):
            if epoch == at:
                break_down(fake, fault)
            run.log_metrics({"loss": 1.0 / (epoch + 1)}, epoch)
        while fault in ("dead", "revoked") and run._sender and run._sender.failure is None:
            time.sleep(0.01)
        # what answered before the fault was asked with more patience
        if run._sender:
            run._sender._deadline = 0.0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", [0, 2])
def test_no_server_changes_when_a_training_ends(
    runtime: Runtime, fake: FakeMlflow, fault: str, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends well, its whole record waits, and the user reads where and what to do; no credentials show."""
    train(runtime, fake, fault, at)
    (spool,) = spools_in(runtime.outbox)
    assert last_status(spool) == "FINISHED"
    said = " ".join(capsys.readouterr().out.split())
    assert f"kept in {spool.folder}" in said
    assert "`capillary sync` publishes it" in said
    assert "u:p" not in said
    if fault == "revoked":
        assert "MLFLOW_TRACKING_PASSWORD" in said


@pytest.mark.parametrize("fault", FAULTS)
def test_required_begins_nothing_without_a_server(runtime: Runtime, fake: FakeMlflow, fault: str) -> None:
    """A service error before anything is trained."""
    with pytest.raises(ServiceError, match="nothing was started") as caught:
        train(dataclasses.replace(runtime, tracking="required"), fake, fault, 0)
    assert caught.value.code is ExitCode.SERVICE
    assert "CAPILLARY_TRACKING=auto" in caught.value.remedy


@pytest.mark.parametrize("fault", FAULTS)
def test_required_ends_with_an_error_where_the_end_is_not_published(
    runtime: Runtime, fake: FakeMlflow, fault: str
) -> None:
    """What was trained is kept, and a repetition publishes it."""
    required = dataclasses.replace(runtime, tracking="required")
    with pytest.raises(ServiceError, match="not published"):
        train(required, fake, fault, 3)
    assert len(list(spools_in(runtime.outbox))) == 1


@pytest.mark.parametrize("mode", ["auto", "offline", "required"])
@pytest.mark.parametrize("is_freed", [True, False])
def test_a_full_disk_loses_nothing_that_memory_holds_and_says_what_it_lost(
    runtime: Runtime,
    fake: FakeMlflow,
    mode: Any,
    is_freed: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The training ends. Where the disk has room at the end, nothing is lost; else it is counted, or required."""
    room = Spool.append_lines

    def full(_spool: Spool, _lines: list[bytes]) -> None:
        raise OSError(28, "No space left on device")

    def train_on_a_full_disk() -> None:
        asked = dataclasses.replace(runtime, tracking=mode)
        with runs.open_run(asked, cell_tags=CELL, run_name="run", system_metrics=False) as run:
            run.log_metrics({"loss": 1.0}, 0)
            monkeypatch.setattr(Spool, "append_lines", full)
            run.log_metrics({"loss": 0.5}, 1)
            if is_freed:
                monkeypatch.setattr(Spool, "append_lines", room)

    if mode == "required" and not is_freed:
        with pytest.raises(ServiceError, match="2 records of its run are lost") as caught:
            train_on_a_full_disk()
        assert caught.value.code is ExitCode.SERVICE
        return
    train_on_a_full_disk()
    said = " ".join(capsys.readouterr().out.split())
    assert ("2 records of its run are lost" in said) is not is_freed
    if mode == "offline":
        assert fake.runs == {}
    elif is_freed:
        assert [step for _, step, _ in fake.points("run-0")] == [0, 1]
        assert list(spools_in(runtime.outbox)) == []
    else:
        assert "The rest is published" in said


def test_offline_asks_nobody(runtime: Runtime, fake: FakeMlflow, capsys: pytest.CaptureFixture[str]) -> None:
    """Also a server that would answer."""
    fake.before = lambda what: pytest.fail(what)
    train(dataclasses.replace(runtime, tracking="offline"), fake, "", 9)
    assert len(list(spools_in(runtime.outbox))) == 1
    assert "CAPILLARY_TRACKING=offline" in capsys.readouterr().out


@pytest.mark.parametrize("fault", FAULTS)
def test_no_server_hides_a_failure(runtime: Runtime, fake: FakeMlflow, fault: str) -> None:
    """The user reads what failed; the record says so too."""
    break_down(fake, fault)

    def fail() -> None:
        with runs.open_run(runtime, cell_tags=CELL, run_name="run", system_metrics=False):
            raise DataError("the label is empty", remedy="x")

    with pytest.raises(DataError, match="the label is empty"):
        fail()
    (spool,) = spools_in(runtime.outbox)
    assert last_status(spool) == "FAILED"


def test_a_request_to_stop_ends_the_wait_and_not_the_training(
    runtime: Runtime, fake: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the end waits for a server that never answers: what was trained is kept."""
    break_down(fake, "black hole")
    monkeypatch.setattr(sender, "ANSWER_PATIENCE_S", 1e9)
    with runs.open_run(runtime, cell_tags=CELL, run_name="r", system_metrics=False, stopped=lambda: True) as run:
        run.log_metrics({"loss": 1.0}, 0)
    assert last_status(run.writer.spool) == "FINISHED"
