"""Where a stack of any form is on the host, and what the stage calls it."""

from pathlib import Path

import pytest

from capillary.prediction.stack_path import StackPath, locate


@pytest.mark.parametrize(
    ("image", "host", "inside"),
    [
        ("a.tif", "a.tif", "a.tif"),
        ("a.ome.zarr", "a.ome.zarr", "a.ome.zarr"),
        ("slices", "slices", "slices"),
        ("slices/z*.tif", "slices", "slices/z*.tif"),
        ("slices/z{z}_c0.tif", "slices", "slices/z{z}_c0.tif"),
        ("set/a.nhdr", "set", "set/a.nhdr"),
        ("a.h5", "a.h5", "a.h5"),
        ("a.h5:/raw/stack", "a.h5", "a.h5:/raw/stack"),
    ],
)
def test_the_stage_sees_what_the_stack_needs_and_no_more(tmp_path: Path, image: str, host: str, inside: str) -> None:
    """A header's neighbours and a pattern's files come with their folder."""
    assert locate(tmp_path / image) == StackPath(host=tmp_path / host, inside=inside)


def test_a_file_with_a_star_in_its_name_is_a_file(tmp_path: Path) -> None:
    """If it is there."""
    (tmp_path / "z*.tif").touch()
    assert locate(tmp_path / "z*.tif").host == tmp_path / "z*.tif"
