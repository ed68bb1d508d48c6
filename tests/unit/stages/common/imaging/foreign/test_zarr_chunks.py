"""Chunks of Zarr that are not in the store: empty ones, or lost in copying."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from stages.common.imaging.reading import read_header, read_stack

VOXELS = np.random.default_rng(3).integers(1, 255, (5, 6, 4)).astype(np.uint8)


@pytest.mark.parametrize(
    ("how", "lost", "says"),
    [
        ({"zarr_format": 2}, "2.1.0", "1 of its 6 chunks are not in the store"),
        ({"zarr_format": 3}, "c/2/1/0", "1 of its 6 chunks are not in the store"),
        ({"zarr_format": 3, "shards": (2, 6, 4)}, "c/2/0/0", "1 of its 3 shards are not in the store"),
    ],
)
def test_missing_chunks_are_said(tmp_path: Path, how: dict[str, Any], lost: str, says: str) -> None:
    """They are black then, by the format's rule: a copy that broke off looks the same."""
    store = tmp_path / "a.zarr"
    zarr.create_array(store, data=VOXELS, chunks=(2, 3, 4), **how)
    (store / ".DS_Store").write_bytes(b"x")
    assert read_header(store).remarks == ()
    (store / lost).unlink()
    (remark,) = read_header(store).remarks
    assert remark.startswith(says)
    assert not read_stack(store)[4, 3:].any()
