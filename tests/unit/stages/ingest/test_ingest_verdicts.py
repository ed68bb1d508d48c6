"""The whole stage in this process: what lands in data/raw, what is refused, what is skipped."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.errors import DataError
from stages.common.imaging.labels.rule import BINARY
from stages.common.imaging.stacks import read_stack
from stages.ingest import inspection
from stages.ingest.ingest import ingest
from stages.ingest.inspection import sha256_of
from stages.ingest.params import Ingest
from tests.unit.stages.ingest.made import (
    image_zyx,
    label_zyx,
    make_minivess,
    make_source,
    row,
    save_nifti,
    save_tiff,
    write_table,
)


def params(source: Path, on_invalid: Any = "fail", label_geometry: Any = "world") -> Ingest:
    return Ingest(
        source=str(source),
        on_invalid=on_invalid,
        label_geometry=label_geometry,
        label=BINARY.rule,
        ignore_value=None,
        channel=None,
        level_um=None,
    )


def _ingest(source: Path, raw: Path, on_invalid: Any = "fail") -> tuple[list[dict[str, str]], dict[str, Any]]:
    ingest(params(source, on_invalid), raw=raw)
    with (raw / "volumes.csv").open() as stream:
        return list(csv.DictReader(stream)), json.loads((raw / "validation.json").read_text())


def _refused(source: Path, raw: Path, on_invalid: Any = "fail") -> DataError:
    with pytest.raises(DataError) as refused:
        ingest(params(source, on_invalid), raw=raw)
    assert list(raw.iterdir()) == []
    return refused.value


def test_a_spacing_of_the_table_in_the_order_x_y_z_is_said(tmp_path: Path) -> None:
    """For the volume alone that has it."""
    source = make_source(tmp_path / "source")
    write_table(source, [row("v1"), row("v2", spacing_z_um="0.5", spacing_x_um="2")])
    _, report = _ingest(source, tmp_path / "raw")
    first, second = (volume["warnings"] for volume in report["volumes"])
    assert first == []
    assert second == ["in the given spacing 0.5 × 0.5 × 2 µm (z × y × x), x alone is coarser; was it given as x, y, z?"]


def test_originals_land_unchanged_with_their_checksums(tmp_path: Path) -> None:
    """Bytes, checksums, shape, spacing and dtype: the table says what lies there, and nothing else lies there."""
    source, raw = make_source(tmp_path / "source"), tmp_path / "raw"
    rows, report = _ingest(source, raw)
    assert [each["id"] for each in rows] == ["v1", "v2", "v3"]
    for each in rows:
        for kind in ("image", "label"):
            landed = (raw / each[kind]).read_bytes()
            assert landed == (source / f"{kind}s" / f"{each['id']}.tif").read_bytes()
            assert each[f"{kind}_sha256"] == hashlib.sha256(landed).hexdigest()
        assert [each[f"shape_{axis}"] for axis in "zyx"] == ["4", "24", "20"]
        assert [each[f"spacing_{axis}_um"] for axis in "zyx"] == ["2.0", "0.5", "0.5"]
        assert (each["dtype"], each["label_foreground_value"]) == ("uint8", "255")
    assert report["source"] == str(source)
    assert report["notes"] == []
    assert report["volumes"][0] == {
        "id": "v1",
        "verdict": "valid",
        "reasons": [],
        "warnings": [],
        "shape_zyx": [4, 24, 20],
        "spacing_um": [2.0, 0.5, 0.5],
        "spacing_source": "dataset.csv",
        "labelled_share": 1.0,
        "foreground_share": pytest.approx(160 / 1920),
    }
    expected = {f"{name}/{kind}.tif" for name in ("v1", "v2", "v3") for kind in ("image", "label")}
    files = {path.relative_to(raw).as_posix() for path in raw.rglob("*") if path.is_file()}
    assert files == expected | {"volumes.csv", "validation.json", "labels.json"}


def test_minivess_takes_its_spacing_from_the_header(tmp_path: Path) -> None:
    """z, y, x in µm; a unit that cannot be true is a warning in the verdict."""
    rows, report = _ingest(make_minivess(tmp_path / "micron"), tmp_path / "raw")
    assert [rows[0][f"spacing_{axis}_um"] for axis in "zyx"] == ["2.0", "0.5", "0.5"]
    assert (rows[0]["image"], rows[0]["label_foreground_value"]) == ("mv01/image.nii.gz", "1")
    assert report["volumes"][0]["warnings"] == []
    rows, report = _ingest(make_minivess(tmp_path / "mm", unit="mm"), tmp_path / "raw2")
    assert [rows[0][f"spacing_{axis}_um"] for axis in "zyx"] == ["2.0", "0.5", "0.5"]
    assert "taken as µm" in report["volumes"][0]["warnings"][0]
    np.testing.assert_array_equal(read_stack(tmp_path / "raw2" / rows[0]["image"]), image_zyx(1))


def test_file_suffixes_are_kept_whole(tmp_path: Path) -> None:
    """.ome.tif and .nii.gz decide how a file is read later on."""
    source = make_source(tmp_path / "source", ("v1",))
    save_tiff(source / "images" / "v1.OME.TIF", image_zyx(0), ome=True)
    save_nifti(source / "labels" / "v1.nii.gz", label_zyx(), (0.5, 0.5, 2.0), "micron")
    write_table(source, [row("v1", image="images/v1.OME.TIF", label="labels/v1.nii.gz")])
    rows, _ = _ingest(source, tmp_path / "raw")
    assert (rows[0]["image"], rows[0]["label"]) == ("v1/image.ome.tif", "v1/label.nii.gz")


def test_every_invalid_volume_is_named_in_one_error(tmp_path: Path) -> None:
    """All volumes are looked at before the run fails, and each failing one stands with its reasons."""
    source = make_source(tmp_path / "source", ("v1", "v2", "v3", "v4"))
    (source / "images" / "v1.tif").write_bytes(b"")
    (source / "labels" / "v1.tif").unlink()
    save_tiff(source / "labels" / "v3.tif", label_zyx()[:, 1:])
    error = _refused(source, tmp_path / "raw")
    assert error.what.splitlines()[0] == "2 of 4 volumes are invalid"
    assert "v1: image images/v1.tif: the file is empty (0 bytes); label labels/v1.tif: it does not exist" in error.what
    assert "v3: label labels/v3.tif: its shape 4 × 23 × 20 is not the image's 4 × 24 × 20" in error.what
    assert "v2" not in error.what
    assert "skip" in error.remedy
    assert error.file == str(source)


def test_a_failing_volume_has_a_line_with_all_of_its_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reasons first, then notes; two missing files do not count as the same file."""
    source = make_source(tmp_path / "source")
    for kind in ("images", "labels"):
        (source / kind / "v1.tif").unlink()
    save_tiff(source / "images" / "v2.tif", image_zyx(1) * 0)
    save_tiff(source / "labels" / "v2.tif", 255 - label_zyx(1))
    _refused(source, tmp_path / "raw")
    first, second = capsys.readouterr().out.splitlines()[:2]
    missing = "it does not exist in the source (line 2 of the table)"
    assert f"v1: INVALID: image images/v1.tif: {missing}; label labels/v1.tif: {missing} (" in first
    assert "v2: INVALID: image images/v2.tif: every voxel is 0: the image is empty; note: 92% of" in second


def test_a_file_is_hashed_once_however_many_rows_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images that share a label: four checksums, and a warning that they share it."""
    source = make_source(tmp_path / "source")
    write_table(source, [row(name, label="labels/v1.tif") for name in ("v1", "v2", "v3")])
    hashed = []
    monkeypatch.setattr(inspection, "sha256_of", lambda file: hashed.append(file) or sha256_of(file))
    rows, report = _ingest(source, tmp_path / "raw")
    assert len(hashed) == 4
    assert len({each["label_sha256"] for each in rows}) == 1
    assert "same content as v1's" in report["volumes"][2]["warnings"][0]


def test_nothing_is_left_after_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the tables are written leaves the folder empty."""

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stages.ingest.ingest.write_tables", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ingest(params(make_source(tmp_path / "source")), raw=tmp_path / "raw")
    assert list((tmp_path / "raw").iterdir()) == []


def test_skip_goes_on_with_the_valid_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was left out is said, is in validation.json with its reason, and leaves no files behind."""
    source, raw = make_source(tmp_path / "source"), tmp_path / "raw"
    save_tiff(source / "labels" / "v2.tif", label_zyx() * 0)
    rows, report = _ingest(source, raw, "skip")
    assert [each["id"] for each in rows] == ["v1", "v3"]
    assert [each["verdict"] for each in report["volumes"]] == ["valid", "invalid", "valid"]
    assert "empty" in report["volumes"][1]["reasons"][0]
    assert not (raw / "v2").exists()
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == ["warning: skipped 1 of 3: v2", f"2 volumes from {source} are valid"]


def test_skip_fails_when_nothing_is_left(tmp_path: Path) -> None:
    """A pipeline without a volume is no pipeline."""
    source = make_source(tmp_path / "source", ("v1",))
    save_tiff(source / "labels" / "v1.tif", label_zyx() * 0)
    error = _refused(source, tmp_path / "raw", "skip")
    assert "1 of 1" in error.what
    assert "skip" not in error.remedy


def test_error_about_many_volumes_fits_a_screen(tmp_path: Path) -> None:
    """A folder in which everything is wrong does not bury the first lines."""
    source = make_source(tmp_path / "source", tuple(f"v{number}" for number in range(40)))
    for label in (source / "labels").iterdir():
        label.unlink()
    lines = _refused(source, tmp_path / "raw").report().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) < 200
    assert "… and 32 more" in "\n".join(lines)


def test_eight_failing_volumes_are_all_named(tmp_path: Path) -> None:
    """Eight lines, each reason cut to 150 characters with an ellipsis."""
    source = make_source(tmp_path / "source", tuple(f"v{number}" for number in range(8)))
    long = f"labels/{'n' * 200}.tif"
    write_table(source, [row(f"v{number}", label=long) for number in range(8)])
    lines = _refused(source, tmp_path / "raw").what.splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == [f"v{number}" for number in range(8)]
    assert {len(line.partition(": ")[2]) for line in lines[1:]} == {150}
    assert all(line.endswith("n…") for line in lines[1:])


def test_same_image_twice_is_found(tmp_path: Path) -> None:
    """A copy under another name would stand in training and validation at once."""
    source = make_source(tmp_path / "source")
    shutil.copy(source / "images" / "v1.tif", source / "images" / "v3.tif")
    what = _refused(source, tmp_path / "raw").what
    assert "v3: image images/v3.tif: it has the same content as v1's" in what
    assert "1 of 3 volumes" in what


def test_same_label_twice_is_a_warning(tmp_path: Path) -> None:
    """Two stacks may be empty in the same way, but mostly a label was saved under the wrong name."""
    source = make_source(tmp_path / "source")
    shutil.copy(source / "labels" / "v1.tif", source / "labels" / "v3.tif")
    _, report = _ingest(source, tmp_path / "raw")
    assert [each["warnings"] for each in report["volumes"]] == [[], [], ["its label has the same content as v1's"]]


def test_label_given_as_its_own_image_is_found(tmp_path: Path) -> None:
    """The network would see the answer."""
    source = make_source(tmp_path / "source", ("v1",))
    write_table(source, [row("v1", image="labels/v1.tif")])
    assert "v1: image and label are the same file" in _refused(source, tmp_path / "raw").what


def test_header_that_contradicts_the_table_is_a_warning(tmp_path: Path) -> None:
    """The table is used, and the verdict tells both."""
    source = make_source(tmp_path / "source", ("v1",))
    save_nifti(source / "images" / "v1.nii.gz", image_zyx(0), (0.5, 0.5, 4.0), "micron")
    write_table(source, [row("v1", image="images/v1.nii.gz")])
    rows, report = _ingest(source, tmp_path / "raw")
    assert rows[0]["spacing_z_um"] == "2.0"
    assert "4 × 0.5 × 0.5" in report["volumes"][0]["warnings"][0]


def test_channels_taken_as_slices_are_a_warning(tmp_path: Path) -> None:
    """tifffile calls slices channels where nobody names their axis; a user who means channels must hear of it."""
    source = make_source(tmp_path / "source", ("v1",))
    save_tiff(source / "images" / "v1.tif", image_zyx(0), imagej=True)
    _, report = _ingest(source, tmp_path / "raw")
    (warning,) = report["volumes"][0]["warnings"]
    assert warning == "the file calls its slices channels; they are taken as z"


def test_a_header_without_a_possible_spacing_is_a_reason(tmp_path: Path) -> None:
    """Without a table, a volume without a valid header is invalid."""
    source = make_minivess(tmp_path / "source", (1,))
    for name, stack in (("raw/mv01", image_zyx(1)), ("seg/mv01_y", label_zyx(1))):
        save_nifti(source / f"{name}.nii.gz", stack, (500.0, 500.0, 500.0), "mm")
    what = _refused(source, tmp_path / "raw").what
    assert "mv01: image raw/mv01.nii.gz: the header's spacing 500 × 500 × 500 mm is outside" in what


def test_a_label_s_values_are_kept_exactly(tmp_path: Path) -> None:
    """Integers without a decimal point, floats with every digit; an unusual coding gives a warning."""
    source = make_source(tmp_path / "source", ("v1", "v2"))
    save_tiff(source / "labels" / "v1.tif", np.where(label_zyx() > 0, 0.1, 0.0))
    save_tiff(source / "labels" / "v2.tif", np.where(label_zyx(1) > 0, 2, 1).astype(np.uint8))
    rows, report = _ingest(source, tmp_path / "raw")
    assert [each["label_foreground_value"] for each in rows] == ["0.1", "2"]
    assert ["taken as vessel" in " ".join(each["warnings"]) for each in report["volumes"]] == [False, True]


def test_groups_are_those_of_the_table(tmp_path: Path) -> None:
    """A volume without a group is its own group."""
    source = make_source(tmp_path / "source", ("v1", "v2"))
    write_table(source, [row("v1", group="mäuse 1"), row("v2", group="")])
    rows, _ = _ingest(source, tmp_path / "raw")
    assert [each["group"] for each in rows] == ["mäuse 1", "v2"]


def test_progress_has_one_line_a_volume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """id, shape, spacing and its source, foreground share and verdict."""
    _ingest(make_source(tmp_path / "source"), tmp_path / "raw")
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(
        "ingest 1/3 v1: 4 × 24 × 20 voxels of 2 × 0.5 × 0.5 µm (dataset.csv), 8.3% foreground, valid"
    )


def test_folder_with_files_in_it_is_not_touched(tmp_path: Path) -> None:
    """Originals are never overwritten, and not removed by the failure either."""
    source, raw = make_source(tmp_path / "source"), tmp_path / "raw"
    raw.mkdir()
    (raw / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="holds files already"):
        ingest(params(source), raw=raw)
    assert (raw / "mine.txt").read_text() == "keep"
