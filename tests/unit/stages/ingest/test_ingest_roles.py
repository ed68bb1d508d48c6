"""A file that is an image in one place and a label in another: one of the two volumes is not what it seems."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.ingest.ingest import ingest
from stages.ingest.params import Ingest
from stages.ingest.table import read_table
from tests.unit.stages.ingest.made import image_zyx, label_zyx, make_source, row, save_tiff, write_table


def _params(source: Path) -> Ingest:
    keys = {"label_geometry": "world", "label": "binary", "ignore_value": None, "channel": None, "level_um": None}
    return Ingest.model_validate({"source": str(source), "on_invalid": "skip", **keys})


def test_both_rows_of_one_file_are_named(tmp_path: Path) -> None:
    """In whatever spelling: nobody knows which of the rows is right."""
    rows = [row("a"), row("b", image="labels//a.tif"), row("c"), row("d", label="images/c.tif"), row("e")]
    found = read_table(write_table(tmp_path, rows), "source/dataset.csv", lambda folder: []).candidates
    assert [candidate.reasons for candidate in found] == [
        ("line 2: label 'labels/a.tif' is the image of line 3",),
        ("line 3: image 'labels/a.tif' is the label of line 2",),
        ("line 4: image 'images/c.tif' is the label of line 5",),
        ("line 5: label 'images/c.tif' is the image of line 4",),
        (),
    ]


@pytest.mark.parametrize(("copied", "reason"), [("labels/v1.tif", "images/v3.tif"), ("images/v1.tif", "labels/v3.tif")])
def test_a_copy_under_another_name_is_found_by_its_content(tmp_path: Path, copied: str, reason: str) -> None:
    """A label as an image has the form of one, and would be trained on."""
    source = make_source(tmp_path / "source")
    save_tiff(source / "images" / "v1.tif", label_zyx(7) // 5)  # an image of two values, which could be a label
    shutil.copy(source / copied, source / reason)
    ingest(_params(source), raw=tmp_path / "raw")
    volumes = json.loads((tmp_path / "raw" / "validation.json").read_text())["volumes"]
    kind, former = reason.partition("s/")[0], copied.partition("s/")[0]
    assert volumes[2]["reasons"] == [f"{kind} {reason}: it has the same content as v1's {former}"]


def test_an_image_that_is_its_own_label_is_named_as_that(tmp_path: Path) -> None:
    """Not for its grey values, which no setting would make a label of."""
    source = make_source(tmp_path / "source")
    write_table(source, [row("v1", label="images/v1.tif"), row("v2")])
    ingest(_params(source), raw=tmp_path / "raw")
    volumes = json.loads((tmp_path / "raw" / "validation.json").read_text())["volumes"]
    assert [volume["reasons"] for volume in volumes] == [["image and label are the same file"], []]


@pytest.mark.parametrize("how", [{"compression": "zlib"}, {"bigtiff": True}, {"description": "exported"}])
def test_an_image_that_was_saved_again_is_found_by_its_voxels(tmp_path: Path, how: dict[str, object]) -> None:
    """It would be trained on in one fold and validated in another."""
    source = make_source(tmp_path / "source")
    save_tiff(source / "images" / "v3.tif", image_zyx(0).astype(np.uint16), **how)  # as v1's
    ingest(_params(source), raw=tmp_path / "raw")
    volumes = json.loads((tmp_path / "raw" / "validation.json").read_text())["volumes"]
    assert volumes[2]["reasons"] == ["image images/v3.tif: its voxels are those of v1's, saved again"]
    assert [volume["reasons"] for volume in volumes[:2]] == [[], []]


@pytest.mark.parametrize(("groups", "is_said"), [(("b", ""), True), (("b", "c"), False), (("", ""), False)])
def test_a_group_with_the_id_of_another_volume_is_said(tmp_path: Path, groups: tuple[str, str], is_said: bool) -> None:
    """A volume without a group has its id for one, by which it would join the others without a word."""
    rows = [row(name, group=group) for name, group in zip("ab", groups, strict=True)]
    notes = read_table(write_table(tmp_path, rows), "source/dataset.csv", lambda folder: []).notes
    assert any("the volume 'b' is in the group of its own name" in note for note in notes) is is_said


def test_arrays_of_one_file_are_not_one_file(tmp_path: Path) -> None:
    """An HDF5 file may hold images and labels."""
    rows = [row("a", image="s.h5:/raw/a", label="s.h5:/seg/a"), row("b", image="s.h5:/raw/b", label="s.h5:/seg/b")]
    found = read_table(write_table(tmp_path, rows), "source/dataset.csv", lambda folder: []).candidates
    assert [candidate.reasons for candidate in found] == [(), ()]
