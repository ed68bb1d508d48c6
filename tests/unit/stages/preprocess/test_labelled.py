"""What nobody labelled, from a raw stack to the arrays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stages.common.errors import DataError
from stages.common.imaging.labels.meaning import LABELS, read_meaning, write_meaning
from stages.common.imaging.labels.rule import LabelMeaning, LabelRule
from stages.common.imaging.volumes import read_manifest, write_manifest
from stages.preprocess.prepare import Prepared, Task, prepare
from stages.preprocess.preprocess import _volume
from stages.preprocess.resample import resample_labelled
from tests.unit.stages.preprocess.tiny_tasks import make_task

IGNORING = LabelMeaning(ignore_value=7)


def partial_task(folder: Path, **params: object) -> Task:
    """A stack whose last two slices and first columns nobody labelled."""
    task = make_task(folder, **params)
    label = tifffile.imread(task.raw.label)
    label[-2:], label[:, :, :5] = 7, 7
    tifffile.imwrite(task.raw.label, label, photometric="minisblack")
    return replace(task, raw=replace(task.raw, meaning=IGNORING))


def listed(prepared: Prepared, folder: Path) -> None:
    write_manifest(folder, [(_volume(prepared, []), prepared.checksums)])


def test_unlabelled_voxels_are_an_array_of_their_own(tmp_path: Path) -> None:
    """label.npy and skeleton.npy are 0 there, and the manifest says how much is labelled."""
    prepared = prepare(partial_task(tmp_path))
    listed(prepared, tmp_path / "processed")
    (volume,) = read_manifest(tmp_path / "processed")
    labelled = volume.labelled()
    assert labelled is not None
    assert not labelled[-2:].any() and not labelled[:, :, :5].any() and labelled[:-2, :, 5:].all()  # noqa: PT018
    assert not volume.label()[labelled == 0].any()
    assert not volume.skeleton()[labelled == 0].any()
    assert volume.labelled_share == labelled.mean()
    assert volume.foreground_share == volume.label().sum() / labelled.sum()
    assert volume.is_partial


def test_stack_without_unlabelled_voxels_has_the_files_it_always_had(tmp_path: Path) -> None:
    """Also where the settings name a value that it does not hold."""
    task = make_task(tmp_path)
    prepared = prepare(replace(task, raw=replace(task.raw, meaning=IGNORING)))
    assert {file.name for file in task.folder.iterdir()} == {"image.npy", "label.npy", "skeleton.npy"}
    listed(prepared, tmp_path / "processed")
    (volume,) = read_manifest(tmp_path / "processed")
    assert (volume.labelled(), volume.native_labelled(), volume.labelled_share) == (None, None, 1)


@pytest.mark.parametrize("target_um", [[4.0, 2.0, 2.0], [2.0, 0.7, 0.7], [5.0, 1.3, 0.9]])
def test_resampling_labels_no_voxel_that_an_ignored_one_takes_part_in(tmp_path: Path, target_um: list[float]) -> None:
    """The native mask is kept for evaluate."""
    prepared = prepare(partial_task(tmp_path, resample_to_um=tuple(target_um)))
    listed(prepared, tmp_path / "processed")
    (volume,) = read_manifest(tmp_path / "processed")
    labelled, native = volume.labelled(), volume.native_labelled()
    assert labelled is not None and native is not None  # noqa: PT018
    z, y, x = np.nonzero(native == 0)
    places = [
        (2 * here + 1) * there // (2 * size)
        for here, there, size in zip((z, y, x), labelled.shape, native.shape, strict=True)
    ]
    assert not labelled[tuple(places)].any()
    assert not volume.label()[labelled == 0].any()
    assert labelled.any()


def test_a_single_ignored_voxel_is_never_lost() -> None:
    """However coarse the grid."""
    labelled = np.ones((5, 21, 22), np.bool_)
    labelled[2, 10, 13] = False
    for shape in ((5, 21, 22), (3, 9, 8), (2, 2, 2), (9, 40, 41)):
        assert not resample_labelled(labelled, shape).all()
        assert resample_labelled(np.ones_like(labelled), shape).all()


def test_meaning_goes_with_the_raw_data(tmp_path: Path) -> None:
    """A folder of an older version, without the file, holds binary labels; a damaged file is refused."""
    assert read_meaning(tmp_path) == LabelMeaning()
    meaning = LabelMeaning(rule=LabelRule(kind="values", values=(1, 2.5)), ignore_value=255)
    write_meaning(tmp_path, meaning)
    assert read_meaning(tmp_path) == meaning
    for text in ("{", "[" * 5000, '{"label": "x", "ignore_value": 1}'):
        (tmp_path / LABELS).write_text(text)
        with pytest.raises(DataError, match="the meaning of the labels cannot be read"):
            read_meaning(tmp_path)
    for text in ("[]", '{"label": "binary"}'):
        (tmp_path / LABELS).write_text(text)
        with pytest.raises(DataError, match="needs `label` and `ignore_value`"):
            read_meaning(tmp_path)
