"""Which end of the scale is bright in slices, one file each. tifffile tags all boolean ones WhiteIsZero."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.support.stacks.any_form import read_header, read_slices, read_stack


@pytest.mark.parametrize("is_inverted", [False, True])
def test_one_meaning_holds_for_all_slices(tmp_path: Path, is_inverted: bool) -> None:
    """The value that is rarer in the whole stack is bright, also in a slice that a large vessel fills."""
    mask = np.random.default_rng(2).random((6, 20, 16)) < 0.1
    mask[0], mask[3, 2:] = True, True
    mask[5] = False
    for z, plane in enumerate(mask ^ is_inverted):
        tifffile.imwrite(tmp_path / f"z{z}.tif", plane)
    assert np.array_equal(read_stack(tmp_path), mask)
    assert np.array_equal(np.stack(list(read_slices(tmp_path))), mask)
    header = read_header(tmp_path)
    assert header.is_inverted is is_inverted
    assert any("WhiteIsZero" in remark for remark in header.remarks) is is_inverted


@pytest.mark.parametrize("white", [{0}, {4}, {0, 4}])
def test_each_slice_has_its_own_bright_end(tmp_path: Path, white: set[int]) -> None:
    """And that some of them were inverted is said, whichever they are."""
    stack = np.random.default_rng(2).integers(0, 200, (6, 20, 16)).astype(np.uint8)
    for z, plane in enumerate(stack):
        values, photometric = (255 - plane, "miniswhite") if z in white else (plane, "minisblack")
        tifffile.imwrite(tmp_path / f"z{z}.tif", values, photometric=photometric)
    assert np.array_equal(read_stack(tmp_path), stack)
    header = read_header(tmp_path)
    assert header.is_inverted
    assert sum("WhiteIsZero" in remark for remark in header.remarks) == 1
