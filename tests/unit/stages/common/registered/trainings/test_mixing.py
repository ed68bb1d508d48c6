"""Networks that predict together are of one training."""

import dataclasses
from typing import Any

import pytest

from stages.common.errors import DataError
from stages.common.registered.trainings.mixing import refuse_mixed
from tests.support.tracking.cards import CARD

ONE, OTHER = "1" * 64, "2" * 64


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({}, None),
        ({"epochs": 3}, "different `epochs`"),
        ({"loss": "cldice"}, "different `loss`"),
        ({"setup": OTHER}, "different data, code or params"),
        ({"setup": None}, "different data, code or params"),
        ({"seed": 5}, "different seeds"),
    ],
)
def test_networks_of_different_trainings_do_not_predict_together(second: dict[str, Any], words: str | None) -> None:
    """The refusal says what differs, and needs no server for it."""
    first = dataclasses.replace(CARD, setup=ONE)
    cards = [first, dataclasses.replace(first, fold=1, **second)]
    if words is None:
        refuse_mixed(cards)
        return
    with pytest.raises(DataError, match=words):
        refuse_mixed(cards)


def test_every_fold_with_every_seed_is_one_training() -> None:
    """Seeds are repetitions of one training; a fold that lacks one is not."""
    cards = [dataclasses.replace(CARD, setup=ONE, fold=fold, seed=seed) for fold in (0, 1) for seed in (1, 2)]
    refuse_mixed(cards)
    with pytest.raises(DataError, match="different seeds") as caught:
        refuse_mixed(cards[:-1])
    assert caught.value.value == "fold 0: seed 1, 2; fold 1: seed 1"
    refuse_mixed([dataclasses.replace(card, setup=None, seed=None) for card in cards])
