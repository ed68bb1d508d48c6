"""Labels of a table that go with another row's image."""

from pathlib import Path

import pytest

from stages.ingest.doubts.exchanged import exchanged
from stages.ingest.table import read_table
from tests.unit.stages.ingest.made import row, write_table

Pairs = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ([("i/a.tif", "l/b.tif"), ("i/b.tif", "l/a.tif")], {0: 1, 1: 0}),
        ([("i/a.tif", "l/b_y.nii.gz"), ("i/b_img.tif", "l/c.tif"), ("i/C.tif", "l/A.tif")], {0: 1, 1: 2, 2: 0}),
        ([("a/raw.tif", "b/seg.tif"), ("b/raw.tif", "a/seg.tif")], {0: 1, 1: 0}),
        ([("a.h5:/raw", "b.h5:/seg"), ("b.h5:/raw", "a.h5:/seg")], {0: 1, 1: 0}),
    ],
)
def test_a_label_with_the_name_of_another_image_is_found(pairs: Pairs, found: dict[int, int]) -> None:
    """By the file's name, and by its folder where that tells the volumes apart."""
    assert exchanged(pairs) == found


@pytest.mark.parametrize(
    "pairs",
    [
        [("i/a.tif", "l/a.tif"), ("i/b_image.tif", "l/b_label.tif")],
        [("i/a.tif", "l/1.tif"), ("i/b.tif", "l/2.tif")],
        [("a/raw.tif", "a/seg.tif"), ("b/raw.tif", "b/seg.tif")],
        [("i/a_0000.nii.gz", "l/a.nii.gz"), ("i/b_0000.nii.gz", "l/b.nii.gz")],
        [("x/a.tif", "y/a_gt.tif"), ("y/b.tif", "y/b_gt.tif")],  # all labels next to some of the images
        [("s.h5:/raw/a", "s.h5:/seg/a"), ("s.h5:/raw/b", "s.h5:/seg/b")],
        [("m1/z*.tif", "m1_seg/z*.tif"), ("m2/z*.tif", "m2_seg/z*.tif")],
        [("i/a.tif", "l/a.tif"), ("i/b.tif", "l/a.tif")],  # one label for both, which is said elsewhere
    ],
)
def test_names_that_say_nothing_or_the_right_thing_are_no_doubt(pairs: Pairs) -> None:
    """As most tables have them."""
    assert exchanged(pairs) == {}


def test_each_row_is_told_with_the_line_that_it_goes_with(tmp_path: Path) -> None:
    """As after the column of labels alone was sorted."""
    rows = [row("a", label="labels/b.tif"), row("b", label="labels/a.tif"), row("c"), row("d", image="")]
    found = read_table(write_table(tmp_path, rows), "source/dataset.csv", lambda folder: []).candidates
    assert [candidate.warnings for candidate in found] == [
        ("label 'labels/b.tif' goes by its name with the image of line 3, 'images/b.tif', not with its own",),
        ("label 'labels/a.tif' goes by its name with the image of line 2, 'images/a.tif', not with its own",),
        (),
        (),
    ]
