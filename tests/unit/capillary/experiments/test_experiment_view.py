import io
from pathlib import Path

import pytest
from rich.console import Console

from capillary.experiments.cells import Outcome, Slot
from capillary.experiments.view import View
from stages.common.epoch_line import EpochLine, format_epoch

SLOT = Slot(name="slot 1 (1 thread)", environment={})


def line(epoch: int, dsc: float | None = None) -> str:
    return format_epoch(
        EpochLine(epoch=epoch, epochs=9, loss=0.5, validation_dsc=dsc, remaining_s=75, rss_gb=1.25, notes="")
    )


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
    for words in ("running", "4/9", "0.5000", "0.812", "1:15", "1.2 GB"):
        assert words in row
    assert "waiting" in waiting


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
    assert state in shown(view)
