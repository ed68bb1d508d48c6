"""Model cards: written, read again, and refused where they are spoilt."""

import dataclasses
import json
from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.common.tracking.cards.card import read_card, write_card
from tests.support.tracking.cards import CARD


def test_a_card_survives_the_disk(tmp_path: Path) -> None:
    """What is read equals what was written, and writing it again gives the same bytes."""
    file = tmp_path / "dice_ce" / "fold_0.json"
    write_card(file, CARD)
    before = file.read_bytes()
    assert read_card(file) == CARD
    write_card(file, read_card(file))
    assert file.read_bytes() == before


def test_a_missing_card_names_the_training_to_run(tmp_path: Path) -> None:
    """The error names the file and the DVC stage that makes it."""
    with pytest.raises(DataError) as caught:
        read_card(tmp_path / "models" / "cbdice" / "fold_2.json")
    assert "dvc repro train@cbdice-2" in caught.value.remedy
    assert "was not trained" in caught.value.what
    assert str(caught.value.file).endswith("models/cbdice/fold_2.json")


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({**dataclasses.asdict(CARD), "extra": 1}), "\udcff"])
def test_a_spoilt_card_is_refused(tmp_path: Path, content: str) -> None:
    """Half a file, another form, missing or unknown keys and wrong encodings are data errors that name the file."""
    file = tmp_path / "dice_ce" / "fold_0.json"
    file.parent.mkdir()
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as caught:
        read_card(file)
    assert caught.value.file == file
    assert f"dvc checkout --force {file}" in caught.value.remedy
    assert "dvc repro -f -s train@dice_ce-0" in caught.value.remedy
