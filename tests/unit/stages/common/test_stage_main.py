"""How a stage starts: with the messages that its order asks for."""

import json
from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.common.program.messages import get_logger
from stages.common.runtime import ORDER_FILE, Messages, StageOrder, order_json
from stages.common.stage_main import run_stage

log = get_logger("stages.example")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stage's working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tell() -> None:
    """What a stage prints."""
    log.debug("details")
    log.info("progress")
    log.warning("a fault")


def test_the_order_says_what_is_printed_and_names_the_stage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also in the error that ends it."""
    order = StageOrder(stage="train@dice_ce-0", messages=Messages(level="warning", form="json"))
    (folder / ORDER_FILE).write_bytes(order_json(order))

    def main() -> None:
        tell()
        raise DataError("no rows", remedy="add one")

    with pytest.raises(SystemExit) as left:
        run_stage(main)
    assert left.value.code == 4
    captured = capsys.readouterr()
    told, ended = json.loads(captured.out), json.loads(captured.err)
    assert (told["message"], told["stage"]) == ("a fault", "train@dice_ce-0")
    assert (ended["message"], ended["stage"]) == ("no rows", "train@dice_ce-0")


def test_a_stage_by_hand_prints_what_people_expect(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an order."""
    run_stage(tell)
    assert capsys.readouterr().out == "progress\nwarning: a fault\n"


def test_a_damaged_order_ends_the_stage_before_it_begins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the words of the file's own error."""
    (folder / ORDER_FILE).write_text("{")
    with pytest.raises(SystemExit) as left:
        run_stage(lambda: pytest.fail("it began"))
    assert left.value.code == 3
    assert "order.json" in capsys.readouterr().err
