"""Boolean slices, one file each: tifffile tags all of them WhiteIsZero, whatever they mean."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from stages.common.imaging.reading import read_header, read_stack
from tests.support.stacks.any_form import read_slices


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
