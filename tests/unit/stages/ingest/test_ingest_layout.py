"""Which volumes a source offers."""

from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.ingest.candidates import Candidate
from stages.ingest.layout import list_candidates
from stages.ingest.sources.local import LocalFolder
from tests.unit.stages.ingest.made import make_minivess, make_source


def _list(source: Path, scratch: Path) -> list[Candidate]:
    scratch.mkdir()
    return list_candidates(LocalFolder(folder=source, shown="my/source"), scratch)


def test_table_comes_before_minivess_folders(tmp_path: Path) -> None:
    """A dataset.csv is the user's word; folder names are a guess."""
    source = make_source(make_minivess(tmp_path / "source"))
    assert [candidate.id for candidate in _list(source, tmp_path / "scratch")] == ["v1", "v2", "v3"]


def test_minivess_pairs_are_found_by_name(tmp_path: Path) -> None:
    """raw/mvNN.nii.gz goes with seg/mvNN_y.nii.gz; the spacing is left to the header, other files do not count."""
    source = make_minivess(tmp_path / "source", (12, 2))
    (source / "raw" / "notes.txt").write_text("x")
    first, second = _list(source, tmp_path / "scratch")
    assert first == Candidate(
        id="mv02", group="mv02", image="raw/mv02.nii.gz", label="seg/mv02_y.nii.gz", spacing_um=None
    )
    assert second.id == "mv12"


def test_minivess_half_pairs_are_named(tmp_path: Path) -> None:
    """An image without label, and a label without image, are invalid volumes and not forgotten ones."""
    source = make_minivess(tmp_path / "source", (1, 2, 3))
    (source / "seg" / "mv01_y.nii.gz").unlink()
    (source / "raw" / "mv03.nii.gz").unlink()
    found = {candidate.id: candidate.reasons for candidate in _list(source, tmp_path / "scratch")}
    assert found["mv01"] == ("its label seg/mv01_y.nii.gz is missing",)
    assert found["mv02"] == ()
    assert found["mv03"] == ("its image raw/mv03.nii.gz is missing",)


def test_a_file_name_that_cannot_name_a_folder_is_a_reason(tmp_path: Path) -> None:
    """The file name becomes the volume's folder; other faults of the pair are listed too."""
    source = make_minivess(tmp_path / "source", (1,))
    (source / "raw" / "a b.nii.gz").write_bytes(b"x")
    named, good = _list(source, tmp_path / "scratch")
    assert (named.id, named.group, good.id) == ("'a b'", "a b", "mv01")
    assert named.reasons == (
        "its file name 'a b' cannot name a folder (use letters, digits, . _ -)",
        "its label seg/a b_y.nii.gz is missing",
    )


def test_capitals_in_a_suffix_pair_too(tmp_path: Path) -> None:
    """Suffixes match in any case; names keep theirs."""
    for name in ("raw/A.NII.GZ", "seg/A_y.Nii"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(b"x")
    (candidate,) = _list(tmp_path / "source", tmp_path / "scratch")
    assert (candidate.id, candidate.image, candidate.label) == ("A", "raw/A.NII.GZ", "seg/A_y.Nii")
    assert candidate.reasons == ()


def test_a_table_is_named_with_its_source(tmp_path: Path) -> None:
    """An error about the table shows the table's path."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "dataset.csv").write_text("id\n")
    with pytest.raises(DataError) as refused:
        _list(tmp_path / "source", tmp_path / "scratch")
    assert refused.value.file == "my/source/dataset.csv"


def test_a_full_folder_is_shown_in_part(tmp_path: Path) -> None:
    """The error lists six names and counts the rest."""
    (tmp_path / "source").mkdir()
    for number in range(9):
        (tmp_path / "source" / f"{number}.tif").write_bytes(b"x")
    with pytest.raises(DataError) as refused:
        _list(tmp_path / "source", tmp_path / "scratch")
    assert refused.value.value == "0.tif, 1.tif, 2.tif, 3.tif, 4.tif, 5.tif and 3 more"


def test_uncompressed_nifti_pairs_too(tmp_path: Path) -> None:
    """.nii is read like .nii.gz."""
    for name in ("raw/a.nii", "seg/a_y.nii"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(b"x")
    (candidate,) = _list(tmp_path / "source", tmp_path / "scratch")
    assert (candidate.image, candidate.label) == ("raw/a.nii", "seg/a_y.nii")


@pytest.mark.parametrize("names", [(), ("a.tif", "b.tif"), ("raw/a.tif",)])
def test_folder_of_neither_kind_is_refused_with_what_it_holds(tmp_path: Path, names: tuple[str, ...]) -> None:
    """The error says what was looked for, what is there, and how to write the table."""
    source = tmp_path / "source"
    source.mkdir()
    for name in names:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"neither dataset\.csv nor") as refused:
        _list(source, tmp_path / "scratch")
    assert refused.value.file == "my/source"
    assert str(refused.value.value).startswith(names[0].split("/")[0] if names else "an empty folder")
    assert "id,image,label" in refused.value.remedy
