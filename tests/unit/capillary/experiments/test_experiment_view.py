import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from capillary.experiments import view as view_module
from capillary.experiments.cells import Outcome, Slot
from capillary.experiments.view import View
from capillary.places.lines import JobLine, format_job
from stages.common.epoch_line import EpochLine, format_epoch
from stages.common.program import messages
from stages.common.program.messages import print_messages

SLOT = Slot(name="slot 1 (1 thread)", environment={})


def line(epoch: int, dsc: float | None = None, loss: float | None = 0.5, remaining_s: float = 75) -> str:
    return format_epoch(
        EpochLine(epoch=epoch, epochs=9, loss=loss, validation_dsc=dsc, remaining_s=remaining_s, rss_gb=1.25, notes="")
    )


def row_of(view: View, address: str) -> list[str]:
    """The cells of its row."""
    return next(text for text in shown(view).splitlines() if address in text).replace("│", " ").split()


def shown(view: View) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(view.table())
    return console.export_text()


def outcome(address: str, code: int, tmp_path: Path, *, ran: bool = True) -> Outcome:
    log = tmp_path / "log"
    log.write_text("a\nerror: it is broken\n")
    return Outcome(address=address, code=code, ran=ran, seconds=3.0, log=log)


def test_a_row_holds_what_its_cell_last_said() -> None:
    """Epoch, loss, Dice, time left, memory; the Dice of the last validation stays."""
    view = View(["train@a-0", "train@a-1"])
    view.started("train@a-0", SLOT)
    view.printed("train@a-0", "precision bf16: because")
    view.printed("train@a-0", line(3, dsc=0.8125))
    view.printed("train@a-0", line(4))
    row, waiting = (next(text for text in shown(view).splitlines() if f"train@a-{n}" in text) for n in (0, 1))
    assert row.replace("│", " ").split() == ["train@a-0", "running", "4/9", "0.5000", "0.812", "1:15", "1.2", "GB"]
    assert waiting.replace("│", " ").split() == ["train@a-1", "waiting", "–", "–", "–", "–", "–"]


def test_a_cell_that_runs_as_a_job_shows_where_it_is() -> None:
    """The queue's reason while it waits, then its node; the report gets what was said last."""
    view = View(["train@a-0"])
    view.started("train@a-0", SLOT)
    assert view.job_of("train@a-0") is None
    for state, more, expected in (("queued", {"reason": "Priority"}, "Priority"), ("running", {"node": "n2"}, "n2")):
        view.printed("train@a-0", format_job(JobLine(job="7", state=state, waited_s=34, retries=1, **more)))
        assert row_of(view, "train@a-0")[1:3] == [state, expected]
    job = view.job_of("train@a-0")
    assert job is not None
    assert (job.node, job.waited_s, job.retries) == ("n2", 34, 1)


def test_a_failure_is_told_at_once_with_its_last_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And where the rest of them is."""
    view = View(["train@a-0"])
    view.ended(outcome("train@a-0", 3, tmp_path))
    said = capsys.readouterr().out
    assert "train@a-0 failed" in said
    assert "error: it is broken" in said
    assert str(tmp_path / "log") in said


@pytest.mark.parametrize(
    ("code", "ran", "state"),
    [(0, True, "done"), (0, False, "up to date"), (1, True, "failed"), (143, True, "stopped"), (130, False, "stopped")],
)
def test_every_end_has_a_word(tmp_path: Path, code: int, ran: bool, state: str) -> None:
    """Done, up to date, failed, stopped."""
    view = View(["train@a-0"])
    view.ended(outcome("train@a-0", code, tmp_path, ran=ran))
    assert f" {state} " in shown(view)
    assert ("1 of 1 cells done" in shown(view)) is (code == 0)


def test_what_is_not_known_is_a_dash() -> None:
    """A loss before the first step, a Dice before the first validation, the time left of a cell that ended."""
    view = View(["train@a-0"])
    view.printed("train@a-0", line(1, loss=None))
    assert row_of(view, "train@a-0") == ["train@a-0", "waiting", "1/9", "–", "–", "–", "1.2", "GB"]


@pytest.mark.parametrize(("remaining_s", "text"), [(59.4, "0:59"), (60, "1:00"), (3599, "59:59"), (3665, "1:01:05")])
def test_the_time_left_is_a_clock(remaining_s: float, text: str) -> None:
    """Minutes and seconds, with hours from one hour on."""
    view = View(["train@a-0"])
    view.started("train@a-0", SLOT)
    view.printed("train@a-0", line(1, remaining_s=remaining_s))
    assert text in row_of(view, "train@a-0")


def test_the_title_counts_cells_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that are done or were up to date, and the time since the start."""
    monkeypatch.setattr(view_module, "time", SimpleNamespace(monotonic=lambda: 100.0))
    view = View(["a", "b", "c", "d"])
    monkeypatch.setattr(view_module, "time", SimpleNamespace(monotonic=lambda: 165.0))
    for address, code, ran in (("a", 0, True), ("b", 0, False), ("c", 1, True)):
        view.ended(outcome(address, code, tmp_path, ran=ran))
    assert "2 of 4 cells done, 1:05 passed" in shown(view)


def test_a_log_gets_a_line_for_each_start_epoch_and_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other lines of a cell are in its own log; a cell that ends well is told in one line."""
    with View(["train@a-0"]) as view:
        view.started("train@a-0", SLOT)
        view.printed("train@a-0", "precision bf16: because")
        view.printed("train@a-0", line(1))
        view.ended(outcome("train@a-0", 0, tmp_path))
    assert capsys.readouterr().out.splitlines() == [
        "train@a-0 starts on slot 1 (1 thread)",
        f"train@a-0 {line(1)}",
        "train@a-0 done after 3 s",
    ]


def test_the_last_words_of_a_failure_are_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The end of its log, the code and the log's place."""
    failed = outcome("train@a-0", 3, tmp_path)
    failed.log.write_text("".join(f"line {number}\n" for number in range(20)))
    View(["train@a-0"]).ended(failed)
    _, where, *words = capsys.readouterr().out.splitlines()
    assert where == f"  exit code 3; all that it printed: {failed.log}"
    assert words == [f"  | line {number}" for number in range(8, 20)]


def test_a_terminal_shows_a_table_that_stays_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It replaces the lines about starts and epochs; ends are told above it."""
    terminal = Console(width=100, force_terminal=True, file=io.StringIO(), highlight=False, _environ={})
    for module in (view_module, messages):
        monkeypatch.setattr(module, "console", terminal)
    with View(["train@a-0"]) as view:
        view.started("train@a-0", SLOT)
        view.printed("train@a-0", line(1))
        assert view._live.is_started
        view.ended(outcome("train@a-0", 0, tmp_path))
    assert not view._live.is_started
    assert "train@a-0 done after 3 s" in terminal.file.getvalue()
    last_table = terminal.file.getvalue().rpartition("cells done")[2]
    assert "1/9" in last_table
    assert "done" in last_table


def test_json_of_a_cell_is_understood_and_passed_on_with_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """The cell prints JSON as the experiment does: each epoch is one object again, also of jobs and of failures."""
    print_messages("info", "json")
    with View(["train@a-0"]) as view:
        view.printed("train@a-0", json.dumps({"level": "info", "message": line(3, dsc=0.8125), "epoch": 3}))
        view.printed("train@a-0", json.dumps({"message": format_job(JobLine(job="7", state="running", node="n2"))}))
        view.printed("train@a-0", json.dumps({"message": "precision bf16: because"}))
    assert "3/9" in row_of(view, "train@a-0")
    epoch, job = map(json.loads, capsys.readouterr().out.splitlines())
    assert epoch["message"] == f"train@a-0 {line(3, dsc=0.8125)}"
    assert (epoch["epoch"], epoch["epochs"], epoch["loss"], epoch["validation_dsc"]) == (3, 9, 0.5, 0.8125)
    assert "n2" in job["message"]
