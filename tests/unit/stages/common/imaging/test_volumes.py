"""The hand-over from preprocess: what is written is what is read, and what is not as listed is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.common.errors import DataError
from stages.common.imaging.volumes import Checksums, Grid, Volume, fold_split, read_manifest, write_manifest
from stages.common.splits import Fold, parse_splits, read_splits, write_splits

SHAPE = (3, 5, 7)
FOLDS = (Fold(train=("b", "c"), val=("a",)), Fold(train=("a",), val=("b",)))


def make_volume(folder: Path, name: str, fold: int) -> tuple[Volume, Checksums]:
    """A volume with its arrays on the disk."""
    volume = Volume(
        id=name,
        group=f"mouse-{name}",
        shape_zyx=SHAPE,
        spacing_um=(5.0, 0.994, 1 / 3),
        foreground_share=0.1,
        fold=fold,
        folder=folder / name,
    )
    volume.folder.mkdir(parents=True)
    rng = np.random.default_rng(fold + 1)
    np.save(volume.folder / "image.npy", rng.random(SHAPE, dtype=np.float32))
    np.save(volume.folder / "label.npy", rng.integers(0, 2, SHAPE, dtype=np.uint8))
    np.save(volume.folder / "skeleton.npy", np.zeros(SHAPE, dtype=np.uint8))
    return volume, Checksums(image="1" * 64, label="2" * 64, skeleton="3" * 64)


@pytest.fixture
def processed(tmp_path: Path) -> Path:
    """Three volumes and two folds; c is validated in none."""
    folder = tmp_path / "processed"
    write_manifest(folder, [make_volume(folder, name, fold) for name, fold in (("c", -1), ("a", 0), ("b", 1))])
    write_splits(folder, FOLDS)
    return folder


def test_manifest_comes_back_as_it_was_written(processed: Path) -> None:
    """Volumes are equal field by field, floats bit for bit, sorted by id."""
    volumes = read_manifest(processed)
    assert [volume.id for volume in volumes] == ["a", "b", "c"]
    assert [volume.fold for volume in volumes] == [0, 1, -1]
    assert volumes[1] == Volume(
        id="b",
        group="mouse-b",
        shape_zyx=SHAPE,
        spacing_um=(5.0, 0.994, 1 / 3),
        foreground_share=0.1,
        fold=1,
        folder=processed / "b",
    )


def test_a_resampled_volume_knows_its_own_grid(tmp_path: Path) -> None:
    """Shape, spacing and label as they came; a native label of another shape is refused."""
    volume, checksums = make_volume(tmp_path, "a", 0)
    native = Grid(shape_zyx=(2, 3, 4), spacing_um=(2.5, 0.1, 0.7))
    np.save(volume.folder / "native_label.npy", np.ones((2, 3, 4), dtype=np.uint8))
    write_manifest(tmp_path, [(replace(volume, native=native), checksums)])
    (found,) = read_manifest(tmp_path)
    assert found.native == native
    assert found.native_label().shape == (2, 3, 4)
    np.save(volume.folder / "native_label.npy", np.ones((2, 3, 5), dtype=np.uint8))
    with pytest.raises(DataError, match=r"native_label\.npy differs from the array"):
        read_manifest(tmp_path)


def test_each_array_is_the_file_of_its_name(processed: Path) -> None:
    """Image, label and skeleton match their files voxel for voxel, in float32 and uint8."""
    volume = read_manifest(processed)[0]
    for name, array in (("image", volume.image()), ("label", volume.label()), ("skeleton", volume.skeleton())):
        stored = np.load(processed / "a" / f"{name}.npy")
        assert array.dtype == (np.float32 if name == "image" else np.uint8)
        np.testing.assert_array_equal(array, stored)


def test_manifest_is_a_plain_table_for_other_programs(processed: Path) -> None:
    """pandas reads it, with the documented columns."""
    table = pd.read_parquet(processed / "manifest.parquet")
    assert list(table.columns) == [
        *["id", "group", "shape_z", "shape_y", "shape_x", "spacing_z_um", "spacing_y_um", "spacing_x_um"],
        *[f"native_{name}" for name in ("shape_z", "shape_y", "shape_x")],
        *[f"native_{name}" for name in ("spacing_z_um", "spacing_y_um", "spacing_x_um")],
        *["image_sha256", "label_sha256", "skeleton_sha256", "native_label_sha256", "foreground_share", "fold"],
        *["labelled_share", "labelled_sha256", "native_labelled_sha256"],
    ]
    assert table["native_shape_x"].tolist() == [7, 7, 7]
    assert table["shape_x"].tolist() == [7, 7, 7]
    for array, digit in (("image", "1"), ("label", "2"), ("skeleton", "3")):
        assert set(table[f"{array}_sha256"]) == {digit * 64}


def test_manifest_bytes_depend_on_content_only(tmp_path: Path) -> None:
    """The order of rows and the time change nothing."""
    rows = [make_volume(tmp_path / "arrays", name, 0) for name in "abc"]
    write_manifest(tmp_path / "one", rows)
    write_manifest(tmp_path / "two", reversed(rows))
    assert (tmp_path / "one" / "manifest.parquet").read_bytes() == (tmp_path / "two" / "manifest.parquet").read_bytes()


def test_arrays_are_mapped_and_cannot_be_changed(processed: Path) -> None:
    """An array is not read into memory, and writing to it is an error rather than damage."""
    image = read_manifest(processed)[0].image()
    assert isinstance(image, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 0


def test_fold_split_follows_the_splits_file(processed: Path) -> None:
    """Who trains is what splits.json lists, not "everyone who is not validated": c sits out fold 1."""
    train, validation = fold_split(processed, 1)
    assert [volume.id for volume in train] == ["a"]
    assert [volume.id for volume in validation] == ["b"]
    train, validation = fold_split(processed, 0)
    assert [volume.id for volume in train] == ["b", "c"]
    assert [volume.id for volume in validation] == ["a"]


@pytest.mark.parametrize("fold", [-1, 2])
def test_a_fold_that_does_not_exist_is_refused(processed: Path, fold: int) -> None:
    """The message says how many there are; a negative number does not count from the end."""
    with pytest.raises(DataError, match=rf"fold {fold} does not exist: splits.json holds 2"):
        fold_split(processed, fold)


@pytest.mark.parametrize("fold", [Fold(train=("a", "stranger"), val=("b",)), Fold(train=("a",), val=("stranger",))])
def test_a_split_of_unknown_volumes_is_refused(processed: Path, fold: Fold) -> None:
    """A splits.json that does not belong to the manifest is named, whether train or val holds the unknown id."""
    write_splits(processed, [fold])
    with pytest.raises(DataError, match="names volumes that") as caught:
        fold_split(processed, 0)
    assert "stranger" in caught.value.report()


def test_splits_come_back_as_they_were_written(processed: Path) -> None:
    """Reading what was written gives the same folds."""
    assert read_splits(processed / "splits.json") == FOLDS


def test_splits_are_written_sorted_for_people(tmp_path: Path) -> None:
    """Ids are sorted and unescaped, indented by two spaces, with a final newline, so that a diff is readable."""
    write_splits(tmp_path, [Fold(train=("mäuse", "b"), val=("a",))])
    assert (tmp_path / "splits.json").read_text(encoding="utf-8") == (
        '{\n  "folds": [\n    {\n      "train": [\n        "b",\n        "mäuse"\n      ],\n'
        '      "val": [\n        "a"\n      ]\n    }\n  ]\n}\n'
    )


def _truncate(processed: Path) -> None:
    file = processed / "a" / "image.npy"
    file.write_bytes(file.read_bytes()[:-10])


def _cast(processed: Path) -> None:
    np.save(processed / "a" / "image.npy", np.zeros(SHAPE))


def _reshape(processed: Path) -> None:
    np.save(processed / "a" / "label.npy", np.zeros((3, 5, 8), dtype=np.uint8))


def _drop_column(processed: Path) -> None:
    pd.read_parquet(processed / "manifest.parquet").drop(columns="fold").to_parquet(processed / "manifest.parquet")


def _double(processed: Path) -> None:
    table = pd.read_parquet(processed / "manifest.parquet")
    pd.concat([table, table]).to_parquet(processed / "manifest.parquet", index=False)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "manifest.parquet").unlink(), "cannot read the manifest"),
        (lambda folder: (folder / "manifest.parquet").write_bytes(b"no table"), "cannot read the manifest"),
        (lambda folder: (folder / "a" / "skeleton.npy").unlink(), "volume a: skeleton.npy"),
        (lambda folder: (folder / "a" / "image.npy").write_bytes(b""), "volume a: image.npy"),
        (_truncate, "volume a: image.npy"),
        (_cast, "volume a: image.npy differs from the array"),
        (_reshape, "volume a: label.npy differs from the array"),
        (_drop_column, "lacks columns"),
        (_double, "lists a volume twice"),
    ],
)
def test_damage_is_refused_by_name(processed: Path, damage, says: str) -> None:  # type: ignore[no-untyped-def]  # lambdas
    """A manifest or array that is missing, cut, foreign or edited is a DataError naming it, with a remedy."""
    damage(processed)
    with pytest.raises(DataError, match=says) as caught:
        read_manifest(processed)
    assert "dvc repro preprocess" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "not a list"),
        ('{"folds": "generate"}', "not a list"),
        ('{"folds": [], "seed": 1}', "not a list"),
        ('{"folds": [{"train": ["a"], "val": ["b"]}], "seed": 1}', "not a list"),
        ('{"folds": [{"train": ["a"]}]}', "fold 0 needs the keys train and val only"),
        ('[{"train": ["a"], "val": ["b"]}, {"train": ["a"], "val": "b"}]', "fold 1: val is not a list of ids"),
        ('[{"train": ["a", 3], "val": ["b"]}]', "fold 0: train is not a list of ids"),
        ("{", "not JSON"),
        ("\udcff", "not JSON"),
    ],
)
def test_splits_of_another_form_are_refused(tmp_path: Path, content: str, says: str) -> None:
    """The message says what is wrong, in which fold."""
    file = tmp_path / "mine.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=says) as caught:
        read_splits(file)
    assert str(file) in caught.value.report()


def test_a_missing_splits_file_is_named(tmp_path: Path) -> None:
    """A mistyped name is a DataError, not a traceback."""
    with pytest.raises(DataError, match="missing"):
        read_splits(tmp_path / "mine.json")


def test_the_bare_list_of_nnu_net_is_the_same_split() -> None:
    """Both forms give equal folds, whatever the order of ids."""
    folds = [{"train": ["b", "a"], "val": ["c"]}]
    assert parse_splits(folds, Path("x")) == parse_splits(json.loads(json.dumps({"folds": folds})), Path("x"))
