"""The stage's command line, as the launcher writes it."""

from pathlib import Path

import pytest

from stages.predict.order import Order, read_order


def test_one_card_is_enough() -> None:
    """Everything optional is None."""
    assert read_order(["in/stack.tif", "out/mask.nii.gz", "--card", "models/a.json"]) == Order(
        image=Path("in/stack.tif"),
        mask=Path("out/mask.nii.gz"),
        cards=(Path("models/a.json"),),
        model=None,
        spacing_um=None,
        probability=None,
        picture=None,
    )


def test_every_option_is_read() -> None:
    """Cards keep their order, the spacing is z, y, x."""
    spacing = ["--spacing-um", "5", "0.5", "0.25"]
    files = ["--probability", "p.tif", "--picture", "p.png"]
    assert read_order(["a.tif", "m.tif", "--card", "b.json", "--card", "a.json", *spacing, *files]) == Order(
        image=Path("a.tif"),
        mask=Path("m.tif"),
        cards=(Path("b.json"), Path("a.json")),
        model=None,
        spacing_um=(5.0, 0.5, 0.25),
        probability=Path("p.tif"),
        picture=Path("p.png"),
    )


def test_a_model_of_the_registry_takes_the_place_of_cards() -> None:
    """The order holds the reference and no cards."""
    order = read_order(["a.tif", "m.tif", "--model", "capillary-dice_ce@fold-0"])
    assert (order.model, order.cards) == ("capillary-dice_ce@fold-0", ())


@pytest.mark.parametrize(
    "words",
    [
        ["a.tif", "m.tif"],
        ["a.tif", "m.tif", "--card", "a.json", "--model", "x"],
        ["a.tif", "--card", "a.json"],
        ["a.tif", "m.tif", "--card", "a.json", "--spacing-um", "1", "2"],
    ],
)
def test_half_an_order_is_a_mistake_of_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 with a usage message."""
    with pytest.raises(SystemExit) as ended:
        read_order(words)
    assert ended.value.code == 2
    assert "python -m stages.predict" in capsys.readouterr().err
