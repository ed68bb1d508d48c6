"""Which stage an entry of dvc.yaml runs."""

import pytest

from stages.common.cell_name import stage_among


@pytest.mark.parametrize(
    ("address", "known", "expected"),
    [
        ("train@dice_ce-0", ["train", "evaluate"], "train"),
        ("train_seed@dice_ce-0-7", ["train", "evaluate"], "train"),
        ("train_seed@dice_ce-0-7", ["train", "train_seed"], "train_seed"),
        ("training", ["train"], "training"),
        ("toy", [], "toy"),
    ],
)
def test_an_entry_runs_the_stage_that_its_name_begins_with(address: str, known: list[str], expected: str) -> None:
    """Whole words of it, and the longest: a stage of the entry's own name comes first."""
    assert stage_among(known, address) == expected
