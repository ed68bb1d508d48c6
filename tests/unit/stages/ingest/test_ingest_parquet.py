"""Sets in Parquet files, as `datasets` writes them: image and label are bytes with the name of a file."""

import csv
import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tifffile

from stages.common.errors import DataError, MachineError
from stages.common.imaging.stacks import read_stack
from stages.ingest.ingest import ingest
from stages.ingest.params import Ingest
from stages.ingest.sources.parquet import SUFFIX
from tests.unit.stages.ingest.made import SPACING_UM, image_zyx, label_zyx

CHOICES: Any = {"label_geometry": "world", "label": "binary", "ignore_value": None, "channel": None, "level_um": None}


def _bytes(stack: Any) -> bytes:
    stream = io.BytesIO()
    z, y, x = SPACING_UM
    metadata = {"axes": "ZYX", "spacing": z, "unit": "um"}
    tifffile.imwrite(stream, stack, imagej=True, resolution=(1 / x, 1 / y), metadata=metadata)
    return stream.getvalue()


def _row(seed: int, **more: Any) -> dict[str, Any]:
    image = {"bytes": _bytes(image_zyx(seed)), "path": f"m{seed}.tif"}
    return {"image": image, "label": {"bytes": _bytes(label_zyx(seed)), "path": f"l{seed}.tif"}, **more}


def _write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


def _ingest(source: Path, raw: Path) -> list[dict[str, str]]:
    ingest(Ingest(source=str(source), on_invalid="fail", **CHOICES), raw=raw)
    with (raw / "volumes.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_bytes_in_cells_are_stacks(tmp_path: Path) -> None:
    """All shards of the training's split; ids are the names of the images, the spacing is that of their headers."""
    _write(tmp_path / "source/data/train-00000-of-00002.parquet", [_row(0, note="a"), _row(1, note=None)])
    _write(tmp_path / "source/data/train-00001-of-00002.parquet", [_row(2, note="b")])
    _write(tmp_path / "source/data/test-00000-of-00001.parquet", [_row(3, note="c")])
    (tmp_path / "source/README.md").write_text("a card")
    volumes = _ingest(tmp_path / "source", tmp_path / "raw")
    assert [volume["id"] for volume in volumes] == ["m0", "m1", "m2"]
    for seed, volume in enumerate(volumes):
        np.testing.assert_array_equal(read_stack(tmp_path / "raw" / volume["image"]), image_zyx(seed))
        np.testing.assert_array_equal(read_stack(tmp_path / "raw" / volume["label"]), label_zyx(seed))
        assert tuple(float(volume[f"spacing_{axis}_um"]) for axis in "zyx") == SPACING_UM


def test_numbers_that_are_missing_are_empty_cells(tmp_path: Path) -> None:
    """The spacing is the header's then, and each row a group of its own."""
    missing = {f"spacing_{axis}_um": float("nan") for axis in "zyx"}
    _write(tmp_path / "source/a.parquet", [_row(seed, group=float("nan"), **missing) for seed in (0, 1)])
    volumes = _ingest(tmp_path / "source", tmp_path / "raw")
    assert [(volume["group"], volume["spacing_z_um"]) for volume in volumes] == [
        (f"m{seed}", str(SPACING_UM[0])) for seed in (0, 1)
    ]


@pytest.mark.parametrize(
    ("training", "test"),
    [
        ("strain_a/train-00000.parquet", "strain_a/test-00000.parquet"),
        ("training_set/a.parquet", "strains/a.parquet"),
        ("train/train-0.parquet", "train/test-0.parquet"),
        ("trainset1.parquet", "testset1.parquet"),
        ("Train.parquet", "constraints.parquet"),
        ("train/0.parquet", "train/validation/0.parquet"),
        ("all.parquet", "testing.parquet"),
        ("train_test/a.parquet", "train_test/test/a.parquet"),
    ],
)
def test_the_split_is_a_word_of_the_name(tmp_path: Path, training: str, test: str) -> None:
    """A strain of mice is no training: its test split was trained on."""
    _write(tmp_path / "source" / training, [_row(0)])
    _write(tmp_path / "source" / test, [_row(1)])
    assert [volume["id"] for volume in _ingest(tmp_path / "source", tmp_path / "raw")] == ["m0"]


@pytest.mark.parametrize("names", [("validation-0", "test-0"), ("val/0", "test/0"), ("dev", "evaluation")])
def test_splits_without_one_to_train_on_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """All of them were trained on. A single one is read, with a note."""
    for seed, name in enumerate(names):
        _write(tmp_path / f"source/{name}.parquet", [_row(seed)])
    with pytest.raises(DataError, match=f"{names[1]}.*none is called train"):
        _ingest(tmp_path / "source", tmp_path / "raw")
    (tmp_path / f"source/{names[0]}.parquet").unlink()
    assert [volume["id"] for volume in _ingest(tmp_path / "source", tmp_path / "raw")] == ["m1"]
    assert "its only split, " in (tmp_path / "raw" / "validation.json").read_text()


def test_columns_are_those_of_a_table(tmp_path: Path) -> None:
    """Ids, groups, spacing and other names; bytes without a name are known by their first ones."""
    rows = [
        {"case_id": f"a{seed}", "img": _bytes(image_zyx(seed)), "mask": _bytes(label_zyx(seed)), "group": "g"}
        | {"spacing_z_um": 4.0, "spacing_y_um": 1.5, "spacing_x_um": 1.5}
        for seed in (0, 1)
    ]
    _write(tmp_path / "source/a.parquet", rows)
    volumes = _ingest(tmp_path / "source", tmp_path / "raw")
    assert [(volume["id"], volume["group"], volume["spacing_z_um"]) for volume in volumes] == [
        ("a0", "g", "4.0"),
        ("a1", "g", "4.0"),
    ]


@pytest.mark.parametrize("name", ["../../evil.tif", "/etc/evil.tif", "a\\..\\evil.tif"])
def test_the_name_of_a_file_leads_nowhere(tmp_path: Path, name: str) -> None:
    """It is an id at most; rows whose names are equal are numbered."""
    rows = [_row(seed) for seed in (0, 1)]
    for row in rows:
        row["image"]["path"] = name
    _write(tmp_path / "source/a.parquet", rows)
    volumes = _ingest(tmp_path / "source", tmp_path / "raw")
    assert [volume["id"] for volume in volumes] == ["00000", "00001"]
    assert not list(tmp_path.rglob("*evil*"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """And leaves nothing."""
    file = _write(tmp_path / f"source/a{SUFFIX}", [_row(0)])
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        _ingest(tmp_path / "source", tmp_path / "raw")
    assert list((tmp_path / "raw").iterdir()) == []


def test_without_its_reader_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image of ingest does not have it."""
    _write(tmp_path / "source/a.parquet", [_row(0)])

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MachineError, match="need the package pyarrow"):
        _ingest(tmp_path / "source", tmp_path / "raw")
