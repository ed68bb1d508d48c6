"""How a network that was loaded computes."""

import dataclasses

import pytest
import torch

from stages.common.errors import DataError
from stages.common.registered.loading import autocast_of
from tests.support.tracking.cards import CARD


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp8", DataError)]
)
def test_a_network_predicts_in_the_arithmetic_that_its_card_names(precision: str, dtype: object) -> None:
    """A name that is not known is refused, instead of float32 in its place."""
    card = dataclasses.replace(CARD, precision=precision)
    if dtype is DataError:
        with pytest.raises(DataError, match="unknown precision") as caught:
            autocast_of(card)
        assert caught.value.value == "fp8"
    else:
        assert autocast_of(card) is dtype
