"""OME-Zarr that predict writes: the voxels slice by slice, and metadata that a reader of the format understands."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from stages.common.imaging.formats.nifti.stack import open_nifti
from stages.common.imaging.spacing import spacing_of
from stages.common.requests.prediction.request import StackRequest
from stages.predict.files import zarr_writing
from stages.predict.files.writing import StackGeometry, write_mask, write_probability
from stages.predict.reporting import ALOUD
from stages.predict.steps import survey
from tests.support.stacks.any_form import read_header, read_stack

SHAPE = (19, 12, 10)
SPACING_UM = (5.0, 0.9, 1.1)


@pytest.mark.parametrize("slab_bytes", [2**26, 500])
def test_a_mask_in_a_store_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slab_bytes: int) -> None:
    """White is 255; the scale is the image's spacing in µm, whatever fits into memory at a time."""
    monkeypatch.setattr(zarr_writing, "SLAB_BYTES", slab_bytes)
    mask = np.random.default_rng(0).random(SHAPE) > 0.7
    store = tmp_path / "seg.ome.zarr"
    write_mask(store, mask, StackGeometry(shape_zyx=SHAPE, spacing_um=SPACING_UM, source=tmp_path / "a.tif"))
    np.testing.assert_array_equal(read_stack(store), mask * np.uint8(255))
    assert spacing_of(read_header(store)).spacing_um == SPACING_UM
    (image,) = zarr.open_group(store, mode="r").attrs["multiscales"]
    assert (image["version"], image["name"], [axis["name"] for axis in image["axes"]]) == ("0.4", "seg", list("zyx"))
    assert {axis["unit"] for axis in image["axes"]} == {"micrometer"}
    assert (store / "0" / "0" / "0" / "0").is_file()  # chunks in folders, as version 0.4 has them


@pytest.mark.parametrize("name", ["seg.ome.zarr", "seg.nii.gz"])
def test_a_mask_is_where_its_stack_is(tmp_path: Path, name: str) -> None:
    """A part of a larger image has a translation: viewers would show the mask elsewhere."""
    stack, mask = tmp_path / "part.ome.zarr", tmp_path / name
    zarr_writing.write_zarr(stack, iter(np.ones(SHAPE, np.uint8)), np.dtype(np.uint8), SHAPE, SPACING_UM, (50, 0, -9))
    place = survey(StackRequest(image=stack, mask=mask), ALOUD)
    write_mask(mask, np.ones(SHAPE, np.bool_), place)
    if name.endswith(".nii.gz"):
        np.testing.assert_allclose(
            open_nifti(mask).geometry.affine, [[1.1, 0, 0, -9], [0, 0.9, 0, 0], [0, 0, 5, 50], [0, 0, 0, 1]], rtol=1e-6
        )
    else:
        assert read_header(mask).start_um == read_header(stack).start_um == (50, 0, -9)


def test_a_probability_keeps_its_type(tmp_path: Path) -> None:
    """float32."""
    probability = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    store = tmp_path / "seg.zarr"
    write_probability(
        store, probability, StackGeometry(shape_zyx=SHAPE, spacing_um=SPACING_UM, source=tmp_path / "a.tif")
    )
    np.testing.assert_array_equal(read_stack(store), probability)
