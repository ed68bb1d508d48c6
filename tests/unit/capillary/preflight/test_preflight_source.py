"""The source, as far as it is on this disk."""

from pathlib import Path

import pytest

from capillary.preflight.folds import read_members
from capillary.preflight.source import ARCHIVE_SUFFIXES, check_source
from stages.common.preflight.check import Status
from stages.ingest.sources.archives import archive as archives


def test_archives_are_those_that_ingest_unpacks() -> None:
    """One list in two programs, of which one does not import the other."""
    assert ARCHIVE_SUFFIXES == archives.ARCHIVE_SUFFIXES


@pytest.mark.parametrize(
    "names",
    [
        ("raw/mv01.nii.gz", "seg/mv01_y.nii.gz"),
        ("images/a.tif", "labels/a.tif"),
        ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
        ("train/raw/a.tif", "train/label/a.tif"),
        ("dataset.csv", "A B.tif"),
    ],
)
def test_a_table_or_a_known_layout_is_a_source(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Whatever ingest reads; the table is one that ingest reads in spite of its spelling."""
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("\ufeffId;IMAGE;Mask\na b;.\\a b.TIF;/x/y/A B.tif\n")
    assert check_source(tmp_path, ".", critical=True).status is Status.PASS


def test_members_are_those_of_ingest(tmp_path: Path) -> None:
    """Ids as ingest maps them, a spacing with decimal commas; None if the header is to give it."""
    (tmp_path / "dataset.csv").write_text(
        "id;image;label;spacing_z_um;spacing_y_um;spacing_x_um\nm (1);a.tif;b.tif;5;0,9;1,1\nm2;c.tif;d.tif;;;\n"
    )
    first, second = read_members(tmp_path, ".")
    assert (first.id, first.group, first.spacing_um) == ("m_1_", "m_1_", (5, 0.9, 1.1))
    assert second.spacing_um is None


def test_a_pin_is_a_source_if_it_can_be_read(tmp_path: Path) -> None:
    """Its commit is shown; the hub is not asked."""
    (tmp_path / "p.hub.json").write_text('{"source": "hf://datasets/a/b", "commit": "%s"}' % ("0" * 40))
    found = check_source(tmp_path, "p.hub.json", critical=True)
    assert (found.status, found.value) == (Status.PASS, f"hf://datasets/a/b@{'0' * 40}")
    (tmp_path / "p.hub.json").write_text("{}")
    assert check_source(tmp_path, "p.hub.json", critical=True).status is Status.FAIL


def test_what_is_elsewhere_or_missing_is_left_to_others(tmp_path: Path) -> None:
    """A URL is not on this disk, and a missing path is what the check of data says."""
    assert check_source(tmp_path, "s3://bucket/x", critical=True).value == "not on this disk"
    assert check_source(tmp_path, "none", critical=True).status is Status.PASS


def test_missing_files_are_named_up_to_three(tmp_path: Path) -> None:
    """Enough to see which folder was forgotten."""
    rows = "".join(f"{number},i{number}.tif,l{number}.tif\n" for number in range(3))
    (tmp_path / "dataset.csv").write_text("id,image,label\n" + rows)
    check = check_source(tmp_path, ".", critical=True)
    assert check.status is Status.FAIL
    assert check_source(tmp_path, ".", critical=True, skips=True).status is Status.WARN
    assert "i0.tif, l0.tif, i1.tif and 3 more" in check.value


def test_an_empty_folder_is_no_source_even_where_volumes_are_skipped(tmp_path: Path) -> None:
    """There is nothing to skip to."""
    assert check_source(tmp_path, ".", critical=True, skips=True).status is Status.FAIL


def test_a_name_that_no_file_system_takes_is_a_missing_file(tmp_path: Path) -> None:
    """Ingest says the same of its row."""
    (tmp_path / "dataset.csv").write_text(f"id,image,label\n1,{'i' * 300}.tif,\x1b.tif\n")
    check = check_source(tmp_path, ".", critical=True)
    assert check.value.endswith(f"{'i' * 200}, \\x1b.tif")


def test_a_table_that_is_no_csv_is_said_to_be_none(tmp_path: Path) -> None:
    """Here by a quote that never ends."""
    (tmp_path / "dataset.csv").write_text(f'id,image,label\n"{"x" * 200_000}')
    check = check_source(tmp_path, ".", critical=True)
    assert "dataset.csv: the table is not CSV: line 2: field larger" in check.value
    assert read_members(tmp_path, ".") == []
