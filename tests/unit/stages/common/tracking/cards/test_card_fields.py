"""Model cards that hold what they should not: damaged, of another version, or with characters that hide."""

import dataclasses
import json
from pathlib import Path

import pytest

from stages.common.errors import DamagedError, DataError
from stages.common.networks.description import FILES
from stages.common.tracking.cards.card import card_from, read_card
from tests.support.attacks import shows_all
from tests.support.tracking.cards import CARD


def _written(tmp_path: Path, **changes: object) -> Path:
    file = tmp_path / "dice_ce" / "fold_0.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**dataclasses.asdict(CARD), **changes}))
    return file


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss", "dice\x1b[2J"),
        ("fingerprint", "f\u202e"),
        ("fingerprint", ""),
        ("loss", None),
        ("precision", "fp32\n"),
        ("precision", 16),
        ("fold", "0"),
        ("fold", True),
        ("fold", -1),
        ("epochs", 1.5),
        ("validation_dsc", "high"),
        ("weights_sha256", "0" * 63),
        ("weights_sha256", "../" + "0" * 61),
        ("patch_voxels", 5),
        ("patch_voxels", [1, 2]),
        ("patch_voxels", [1, 2, 0]),
        ("fingerprint", {}),
        ("files", []),
        ("files", {}),
        ("files", {"description.json": {"sha256": "0" * 64, "bytes": 1}}),
        ("files", {name: {"sha256": "0" * 64} for name in FILES}),
        ("files", {name: {"sha256": "0" * 64, "bytes": -1} for name in FILES}),
        ("files", {name: {"sha256": "", "bytes": 1} for name in FILES}),
        ("files", {name: {"sha256": "0" * 64, "bytes": 1} for name in (*FILES, "../evil")}),
    ],
)
def test_a_field_that_cannot_be_right_is_named(tmp_path: Path, field: str, value: object) -> None:
    """Another type, another form, or a character that hides; the card is shown, and left, as it is."""
    file = _written(tmp_path, **{field: value})
    with pytest.raises(DamagedError, match=f"`{field}`") as caught:
        read_card(file)
    assert caught.value.file == file
    assert shows_all(caught.value.report())


@pytest.mark.parametrize(
    "recipe",
    [
        {"resample_to_um": 5},
        {"resample_to_um": [1, 2]},
        {"percentile_low": "0.5"},
        {"reading": None},
        {"normalisation": []},
    ],
)
def test_a_recipe_that_cannot_be_right_is_refused(tmp_path: Path, recipe: dict[str, object]) -> None:
    """Its numbers decide what a network sees."""
    file = _written(tmp_path, recipe={**dataclasses.asdict(CARD.recipe), **recipe})
    with pytest.raises(DataError, match="the recipe for preparing the images"):
        read_card(file)


def test_a_card_of_a_pickled_model_says_how_to_go_on(tmp_path: Path) -> None:
    """Convert it, by the name that the card has, or train again."""
    file = _written(tmp_path)
    former = {**json.loads(file.read_text()), "run_id": "r", "model_name": "capillary-dice_ce", "model_version": "1"}
    file.write_text(json.dumps({key: value for key, value in former.items() if key != "files"}))
    with pytest.raises(DataError, match="older capillary as a pickle") as caught:
        read_card(file)
    assert "capillary models convert capillary-dice_ce/1" in caught.value.remedy
    assert "dvc repro -f -s train@dice_ce-0" in caught.value.remedy
    with pytest.raises(DataError) as caught:
        card_from(json.loads(file.read_text()), file, "train it again")
    assert caught.value.remedy == "convert it (`capillary models convert capillary-dice_ce/1`), or train it again"


def test_a_card_that_notes_a_server_is_of_a_former_version(tmp_path: Path) -> None:
    """Publishing later would change it: the stage that makes it runs again."""
    file = _written(tmp_path, run_id="r", model_name="capillary-dice_ce", model_version="1")
    with pytest.raises(DataError, match="an older capillary") as caught:
        read_card(file)
    assert "dvc repro" in caught.value.remedy
    assert caught.value.value == "run_id, model_name, model_version"


def test_a_card_of_another_version_says_in_what_it_differs(tmp_path: Path) -> None:
    """So that nobody takes it for damage."""
    card = {name: value for name, value in dataclasses.asdict(CARD).items() if name != "recipe"} | {"flavour": 1}
    file = tmp_path / "dice_ce" / "fold_0.json"
    file.parent.mkdir()
    file.write_text(json.dumps(card))
    with pytest.raises(DataError, match="by another version") as caught:
        read_card(file)
    assert caught.value.value == "it lacks recipe, it has flavour"
