"""Zarr stores that are damaged: metadata of other types, and chunks that are not there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from stages.common.errors import DataError
from stages.common.imaging.foreign.zarr_store import unread_levels
from tests.support.stacks.any_form import read_header, read_stack
from tests.unit.stages.common.imaging.foreign.written import save_zarr

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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("datasets", [5]),
        ("datasets", {"path": "0"}),
        ("datasets", "0"),
        ("axes", True),
        ("axes", "zyx"),
        ("coordinateTransformations", 5),
    ],
)
def test_metadata_of_another_type_are_damage(tmp_path: Path, key: str, value: Any) -> None:
    """And not a traceback, nor in the look at which levels are not read."""
    store = save_zarr(tmp_path / "a.zarr", [VOXELS, VOXELS[:, ::2, ::2]])
    told = json.loads((store / ".zattrs").read_text())
    told["multiscales"][0][key] = value
    (store / ".zattrs").write_text(json.dumps(told))
    with pytest.raises(DataError, match="damaged"):
        read_stack(store, None, (5, 2, 2))
    assert unread_levels(store, (5.0, 2.0, 2.0)) == ()
