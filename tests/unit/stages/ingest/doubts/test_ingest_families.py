"""Ids that begin alike, as those of one animal."""

import pytest

from stages.ingest.candidates import Candidate
from stages.ingest.doubts.families import doubt_of_groups


def _candidates(ids: str, group: str = "") -> list[Candidate]:
    return [
        Candidate(id=name, group=group or name, image="i.tif", label="l.tif", spacing_um=None) for name in ids.split()
    ]


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        ("m1_left m1_right m2_left m2_right", "m1_left, m1_right"),
        ("mouse3-a mouse4-a mouse3-b mouse4-b mouse5", "mouse3-a, mouse3-b"),
        ("M1_d0 m1_d7 m1_d14 m1_d21 m2_d0 m2_d7", "M1_d0, m1_d7, m1_d14, …"),
    ],
)
def test_ids_like_those_of_one_animal_are_said(ids: str, shown: str) -> None:
    """Its stacks would be trained on and validated, and every score would flatter."""
    said = f"no volume has a group; if {shown} are of one animal, name it in the column group of dataset.csv"
    assert doubt_of_groups(_candidates(ids)) == said


@pytest.mark.parametrize(
    "ids",
    [
        "vol_01 vol_02 vol_03",
        "mv01 mv02 mv03",
        "exp1_001 exp1_002 exp1_003",
        "smith2014_low smith2014_high lee2015_low lee2015_high",
        "m1_left m2_left m3_left",
        "20240105_a 20240105_b 20240106_a 20240106_b",
    ],
)
def test_ids_that_count_stacks_are_not(ids: str) -> None:
    """Numbers, names of projects, years and dates."""
    assert doubt_of_groups(_candidates(ids)) == ""


def test_groups_that_are_given_are_believed() -> None:
    """Whatever the ids."""
    assert doubt_of_groups([*_candidates("m1_left m1_right", "m1"), *_candidates("m2_left m2_right")]) == ""
