"""A table drafted from a folder."""

import tempfile
from pathlib import Path

import h5py
import nrrd
import numpy as np
import pytest
import tifffile

from stages.ingest.draft import Draft, draft_table, remarks_of
from tests.unit.stages.ingest.made import image_zyx, label_zyx, make_minivess, make_source, save_tiff


def _draft(source: Path, tmp_path: Path) -> Draft:
    with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
        return draft_table(source, "x", Path(scratch))


def test_spacing_is_from_the_header_with_its_field(tmp_path: Path) -> None:
    """And a table that is written is read back with the same values."""
    source = make_minivess(tmp_path / "source", (1, 2))
    (source / "seg" / "mv02_y.nii.gz").unlink()
    draft = _draft(source, tmp_path)
    assert draft.as_csv().decode().splitlines() == [
        "id,image,label,spacing_z_um,spacing_y_um,spacing_x_um,spacing_source",
        "mv01,raw/mv01.nii.gz,seg/mv01_y.nii.gz,2,0.5,0.5,NIfTI sform",
        "mv02,raw/mv02.nii.gz,,2,0.5,0.5,NIfTI sform",
    ]
    assert remarks_of(draft.rows, 8)[0].startswith("mv02: its label is missing")
    (source / "dataset.csv").write_bytes(draft.as_csv())
    first, second = _draft(source, tmp_path).rows
    assert (first.spacing_um, first.source) == ((2.0, 0.5, 0.5), "dataset.csv")
    assert second.candidate.reasons == ("line 3: label is empty",)


def test_a_table_is_understood_and_written_anew(tmp_path: Path) -> None:
    """With its groups, and ids as they are mapped."""
    source = make_source(tmp_path / "source", ("v1", "v2"))
    lines = ["ID;img;Mask;group;dz (µm)", "v 1;images\\v1.tif;labels/V1.tif;=m;0,5", "v2;images/v2.tif;labels/v2.tif;;"]
    (source / "dataset.csv").write_text("\n".join(lines))
    draft = _draft(source, tmp_path)
    assert draft.as_csv().decode().splitlines() == [
        "id,image,label,spacing_z_um,spacing_y_um,spacing_x_um,group,spacing_source",
        "v_1,images/v1.tif,labels/v1.tif,0.5,,,'=m,dataset.csv",
        "v2,images/v2.tif,labels/v2.tif,,,,v2,",
    ]
    (source / "dataset.csv").write_bytes(draft.as_csv())
    assert [row.candidate.group for row in _draft(source, tmp_path).rows] == ["=m", "v2"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("v1,images/v1.tif,,5,0.9,1.1", "label is empty"),
        ("../v1,images/v1.tif,labels/v1.tif,5,0.9,1.1", "cannot name a folder"),
        ("v1,images/v1.tif,labels/none.png.txt,5,0.9,1.1", "has no supported format"),
    ],
)
def test_spacing_of_a_row_with_a_fault_stays_as_it_was_typed(tmp_path: Path, row: str, reason: str) -> None:
    """It is corrected and used later: the header's must not take its place."""
    source = make_source(tmp_path / "source", ("v1", "v2"))
    save_tiff(source / "images" / "v1.tif", image_zyx(1), resolution=(2, 2), metadata={"spacing": 2.0, "unit": "um"})
    header, _, other = (source / "dataset.csv").read_text().splitlines()
    (source / "dataset.csv").write_text("\n".join([header, row, other]))
    first = _draft(source, tmp_path).rows[0]
    assert reason in " ".join(first.remarks)
    assert (first.spacing_um, first.source) == ((5.0, 0.9, 1.1), "dataset.csv")


def test_headers_of_every_form_are_read(tmp_path: Path) -> None:
    """NRRD, HDF5, a pattern of slices and a grey stack in colour: what ingest reads needs no spacing by hand."""
    source = tmp_path / "source"
    source.mkdir()
    image = image_zyx(1)
    where = {"space": "RAS", "space directions": np.diag([0.5, 0.5, 2]), "space units": ["um"] * 3}
    nrrd.write(str(source / "a.nrrd"), image.T, where)
    with h5py.File(source / "b.h5", "w") as file:
        file["raw"] = image
        file["raw"].attrs["element_size_um"] = [2, 0.5, 0.5]
    how = {"resolution": (2, 2), "metadata": {"spacing": 2.0, "unit": "um"}}
    for z, plane in enumerate(image):
        save_tiff(source / f"z{z}.tif", plane, **how)
    tifffile.imwrite(source / "c.tif", np.stack([image] * 3, -1), photometric="rgb", **how)
    rows = [f"v{at},{name},{name}" for at, name in enumerate(("a.nrrd", "b.h5:/raw", "z*.tif", "c.tif"))]
    (source / "dataset.csv").write_text("\n".join(["id,image,label", *rows]))
    draft = _draft(source, tmp_path)
    assert [row.spacing_um for row in draft.rows] == [(2.0, 0.5, 0.5)] * 4
    assert [row.source for row in draft.rows] == [
        "NRRD space directions",
        "HDF5 element_size_um",
        "tifffile metadata",
        "tifffile metadata",
    ]


@pytest.mark.parametrize("name", ["labels", "masks"])
def test_a_spacing_given_by_hand_fills_empty_cells_alone(tmp_path: Path, name: str) -> None:
    """What a header says stays."""
    source = tmp_path / "source"
    for folder in ("images", name):
        (source / folder).mkdir(parents=True)
    save_tiff(source / "images" / "a.tif", image_zyx(1))
    save_tiff(source / name / "a.tif", label_zyx(1))
    (source / "images" / "b.tif").write_bytes(b"no tiff")
    draft = _draft(source, tmp_path)
    assert [row.lacks_spacing for row in draft.rows] == [True, True]
    assert "b: image images/b.tif: the file is damaged or cut" in remarks_of(draft.rows, 9)[1]
    assert remarks_of(draft.rows, 1)[1] == "… and 1 more"
    filled = draft.filled((5, 0.9, 1.1), "given by hand")
    assert filled.rows[0].spacing_um == (5, 0.9, 1.1)
    assert not filled.without_spacing
