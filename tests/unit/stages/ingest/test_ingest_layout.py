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
