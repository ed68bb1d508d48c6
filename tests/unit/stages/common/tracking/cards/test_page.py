"""What a registry's page says of a network."""

from dataclasses import replace

from stages.common.tracking.cards.domain import TrainingDomain
from stages.common.tracking.cards.page import in_training, network_page
from tests.support.tracking.cards import CARD

DOMAIN = TrainingDomain(volumes=2, lowest_um=(2.0, 0.5, 0.5), highest_um=(5.0, 1.0, 1.0), lowest={}, highest={})


def test_a_page_says_what_the_network_is_and_how_to_use_it() -> None:
    """Names are code, so that Markdown does not take their signs for its own."""
    page = network_page(CARD, "capillary-dice_ce", "3")
    assert page.startswith("**`dice_ce`**, fold 0, seed 2026: one network, validation DSC 0.800 after the last of 20 ")
    assert "| patch | 12 × 96 × 96 voxels |" in page
    assert "`capillary predict --model capillary-dice_ce/3`" in page
    assert "seed" not in network_page(replace(CARD, seed=None), "capillary-dice_ce", "3")


def test_a_page_names_the_spacing() -> None:
    """The one to which stacks are resampled, else those of the training's stacks, where the card knows them."""
    resampled = replace(CARD, recipe=replace(CARD.recipe, resample_to_um=(2.0, 1.0, 1.0)))
    assert "2 × 1 × 1 µm, to which stacks are resampled" in network_page(resampled, "n", "1")
    plain = replace(CARD, recipe=replace(CARD.recipe, resample_to_um=None), domain=None)
    assert "| spacing | that of each stack |" in network_page(plain, "n", "1")
    assert "2 × 0.5 × 0.5 to 5 × 1 × 1 µm, as stacks came" in network_page(replace(plain, domain=DOMAIN), "n", "1")
    same = replace(DOMAIN, highest_um=DOMAIN.lowest_um)
    assert "| 2 × 0.5 × 0.5 µm, as stacks came |" in network_page(replace(plain, domain=same), "n", "1")


def test_a_page_names_each_training_once_and_keeps_what_people_wrote() -> None:
    """Of many the last ones."""
    page = in_training("Seen by Ann.\n", "capillary-default/1")
    assert page == "Seen by Ann.\n\nEvaluated as part of `capillary-default/1`.\n"
    page = in_training(page + "\nGood on thin vessels.\n", "capillary-default/2")
    assert page == in_training(page, "capillary-default/1")
    assert "Evaluated as part of `capillary-default/1`, `capillary-default/2`.\n\nGood on thin vessels." in page
    for number in range(3, 40):
        page = in_training(page, f"capillary-default/{number}")
    assert page.count("capillary-default/") == 20
    assert "`capillary-default/39`." in page
    assert in_training("", "a/1") == "Evaluated as part of `a/1`.\n"
