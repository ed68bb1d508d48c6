"""The small copies for the page: in proportion, at most 256 voxels along an axis, no vessel lost."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from serving.models.view import write_view


class Planes(list[np.ndarray]):  # type: ignore[type-arg]
    """Planes with the shape of the whole."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self), *self[0].shape)


def test_a_large_stack_is_thinned_out_and_keeps_every_vessel(tmp_path: Path) -> None:
    mask = np.zeros((3, 300, 600), np.uint8)
    vessels = [(0, 0, 0), (1, 151, 301), (2, 299, 599)]
    for place in vessels:
        mask[place] = 1
    stack = np.arange(mask.size, dtype=np.uint32).reshape(mask.shape)
    write_view(tmp_path / "s.nii.gz", tmp_path / "m.nii.gz", Planes(stack), Planes(mask), (5.0, 1.0, 1.5))
    image: Any
    small: Any
    image, small = (nibabel.load(tmp_path / f"{name}.nii.gz") for name in "sm")
    assert image.shape == small.shape == (200, 150, 3)
    assert image.header.get_zooms() == (4.5, 2.0, 5.0)
    found = np.asarray(small.dataobj)[:, ::-1].transpose(2, 1, 0)
    assert [tuple(place) for place in np.argwhere(found)] == [(z, y // 2, x // 3) for z, y, x in vessels]
    values = np.asarray(image.dataobj)
    assert (values.dtype, values.min(), values.max()) == (np.uint8, 0, 255)


def test_a_small_stack_stays_as_it_is_and_a_flat_one_is_dark(tmp_path: Path) -> None:
    planes = Planes(np.full((1, 4, 5), 7, np.uint16))
    write_view(tmp_path / "s.nii.gz", tmp_path / "m.nii.gz", planes, planes, (1.0, 1.0, 1.0))
    stack: Any = nibabel.load(tmp_path / "s.nii.gz")
    small: Any = nibabel.load(tmp_path / "m.nii.gz")
    assert np.asarray(stack.dataobj).max() == 0
    assert np.asarray(small.dataobj).shape == (5, 4, 1)
