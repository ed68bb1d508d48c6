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
    return list(list_candidates(LocalFolder(folder=source, shown="my/source"), scratch).candidates)


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
    assert found["mv01"][0].startswith("its label is missing: seg/mv01.*, or with _y,")
    assert found["mv02"] == ()
    assert found["mv03"] == ("its image is missing: raw/mv03.*, for the label seg/mv03_y.nii.gz",)


def test_a_file_name_is_mapped_to_a_safe_id(tmp_path: Path) -> None:
    """The name becomes the volume's folder; two that would share one are refused by name."""
    source = make_minivess(tmp_path / "source", (1,))
    for name in ("raw/a b.nii.gz", "seg/a b_y.nii.gz", "raw/a(b.nii.gz", "raw/c d.tif", "seg/c d.tif"):
        (source / name).write_bytes(b"x")
    shared, other, mapped, good = _list(source, tmp_path / "scratch")
    assert (mapped.id, mapped.warnings, mapped.reasons) == ("c_d", ('id "c d" → c_d',), ())
    assert shared.reasons == ("its name 'a b' is the same folder, a_b, as that of 'a(b'",)
    assert other.reasons[-1] == "its name 'a(b' is the same folder, a_b, as that of 'a b'"
    assert good.id == "mv01"


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


def _source(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.tif", "labels/a.tif"),
        ("images/a.tif", "masks/a_mask.tif"),
        ("Image/a.ome.tif", "Segmentations/a-label.tiff"),
        ("image/a_image.nii", "label/a_label.nii"),
        ("raw/a.tif", "seg/a_y.tif"),
        ("raw/a.tif", "label/A_GT.tif"),
        ("train/raw/a.tif", "train/label/a.tif"),
        ("data/train/raw/a.tif", "data/train/label/a.tif"),
        ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
        ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz"),
        ("ImagesTR/a_0000.nii.gz", "labelstr/a.nii.gz"),
    ],
)
def test_pairs_are_found_in_every_layout(tmp_path: Path, image: str, label: str) -> None:
    """By equal names, or by the usual marks of images and labels; the spacing is left to the header."""
    (found,) = _list(_source(tmp_path / "source", image, label), tmp_path / "scratch")
    assert (found.id, found.image, found.label) == ("a", image, label)
    assert (found.spacing_um, found.reasons) == (None, ())


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("images/m1/z0.tif", "images/m2/z0.tif", "labels/m1/0.png", "labels/m2/0.png"), ["m1", "m2"]),
        (("raw/m1/z0.tif", "seg/m1_y/z0.tif"), ["m1"]),
        (("images/m1/z0.tif", "images/m2.5/z0.tif", "labels/m1/z0.tif", "labels/m2.5/z0.tif"), ["m1", "m2.5"]),
        (("images/m2.5/z0.tif", "images/notes.txt", "labels/m2.5_mask/0.png"), ["m2.5"]),
        (("images/m1/z0.tif", "images/a.tif", "labels/m1.tif", "labels/a.tif"), ["a", "m1"]),
        (("train/images/m1/z0.tif", "train/labels/m1/z0.tif", "raw/old/z0.tif"), ["m1"]),
    ],
)
def test_a_folder_of_slices_is_a_stack(tmp_path: Path, names: tuple[str, ...], pairs: list[str]) -> None:
    """Among folders and files alike."""
    found = _list(_source(tmp_path / "source", *names), tmp_path / "scratch")
    assert [(candidate.id, candidate.reasons) for candidate in found] == [(name, ()) for name in pairs]


def test_a_folder_without_a_counterpart_is_said(tmp_path: Path) -> None:
    """It may hold anything: it is no volume without a label."""
    names = ("images/a.tif", "labels/a.tif", "images/old/a.tif", "images/notes/a.txt")
    source = LocalFolder(folder=_source(tmp_path / "source", *names), shown="my/source")
    offer = list_candidates(source, tmp_path)
    assert [candidate.id for candidate in offer.candidates] == ["a"]
    assert "not read: images/old/" in offer.notes


def test_the_layout_and_what_is_left_out_are_said(tmp_path: Path) -> None:
    """A guess is never silent."""
    source = _source(tmp_path / "source", "train/raw/a.tif", "train/label/a.tif", "test/raw/b.tif")
    (tmp_path / "scratch").mkdir()
    offer = list_candidates(LocalFolder(folder=source, shown="x"), tmp_path / "scratch")
    assert offer.notes == ("no dataset.csv: the layout is train/raw/ + train/label/", "not read: test/")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("images/a.tif",), "images/ with 1 stack (a.tif), without a folder of labels"),
        (("labels/a.tif", "images/a.txt"), "labels/ with 1 stack (a.tif), without a folder of images"),
        (("images/a.tif", "labels/a.tif", "masks/a.tif"), "masks/: it is unclear which of them belong together"),
        (("imagesTr/a_0000.nii.gz",), "imagesTr/ with 1 stack"),
        (("imagesTr/a.txt",), "imagesTr/ without stacks"),
    ],
)
def test_half_a_layout_is_told_with_its_folders(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    """What is there, and what lacks beside it."""
    with pytest.raises(DataError, match="MiniVess") as refused:
        _list(_source(tmp_path / "source", *names), tmp_path / "scratch")
    assert found in str(refused.value.value)


def test_two_files_for_one_volume_are_a_reason(tmp_path: Path) -> None:
    """Which of them is meant cannot be known."""
    names = ("images/a.tif", "labels/a_label.tif", "labels/a_mask.tif", "images/b.tif", "images/b.nii", "labels/b.tif")
    first, second = _list(_source(tmp_path / "source", *names), tmp_path / "scratch")
    assert first.reasons == ("2 labels match it: labels/a_label.tif, labels/a_mask.tif; keep one",)
    assert (first.image, first.label) == ("images/a.tif", "")
    assert second.reasons == ("2 images match it: images/b.nii, images/b.tif; keep one",)
    assert (second.image, second.label) == ("", "labels/b.tif")


def test_a_label_of_the_same_name_does_not_hide_another_one(tmp_path: Path) -> None:
    """The rule for equal names comes first; a label with a mark is of the same volume."""
    source = _source(tmp_path / "source", "images/a.tif", "labels/a.tif", "labels/a_y.nii", "labels/a_gt.tif")
    (candidate,) = _list(source, tmp_path / "scratch")
    assert candidate.reasons == ("3 labels match it: labels/a.tif, labels/a_gt.tif, labels/a_y.nii; keep one",)
    assert candidate.label == ""


def test_of_several_channels_the_first_is_read_and_said(tmp_path: Path) -> None:
    """nnU-Net keeps each channel in a file of its own."""
    names = ("a_0000.tif", "a_0001.tif", "b_0001.tif")
    source = _source(tmp_path / "source", *(f"imagesTr/{name}" for name in names), "labelsTr/a.tif", "labelsTr/b.tif")
    first, second = _list(source, tmp_path / "scratch")
    assert first.image == "imagesTr/a_0000.tif"
    assert first.warnings == ("its channels are 0000, 0001; 0000 is read (imagesTr/a_0000.tif)",)
    assert second.reasons == ("its channel 0000 is missing; there is 0001",)
    assert second.image == ""


@pytest.mark.parametrize(
    ("said", "note", "values"),
    [
        ('{"labels": {"background": 0, "vessel": 1}}', "dataset.json: background = 0, vessel = 1", {"vessel": (1,)}),
        ('{"labels": {"0": "background", "1": "vein"}}', "dataset.json: background = 0, vein = 1", {"vein": (1,)}),
        (
            '{"labels": {"background": 0, "artery": 1, "any": [1, 2]}}',
            "dataset.json: background = 0, artery = 1, any = 1 or 2; several classes: ingest.label in params.yaml "
            "chooses which are vessel",
            {"artery": (1,), "any": (1, 2)},
        ),
        (
            '{"labels": {"background": 0, "v": 1, "ignore": 2}}',
            "ingest.ignore_value in params.yaml names the value",
            {"v": (1,)},
        ),
        ("{", "dataset.json is not used", {}),
        ("[]", "dataset.json is not used: it is not a JSON object", {}),
        ('{"labels": {"a": "b"}}', "its label 'a' is not an integer", {}),
        ("[" * 100_000, "dataset.json is not used", {}),
    ],
)
def test_meanings_of_labels_are_shown_and_handed_on(
    tmp_path: Path, said: str, note: str, values: dict[str, tuple[int, ...]]
) -> None:
    """By dataset.json of nnU-Net, both versions; the set is read without one that is of no use."""
    source = _source(tmp_path / "source", "imagesTr/a_0000.tif", "labelsTr/a.tif")
    (source / "dataset.json").write_text(said)
    (tmp_path / "scratch").mkdir()
    offer = list_candidates(LocalFolder(folder=source, shown="x"), tmp_path / "scratch")
    assert note in offer.notes[-1]
    assert values.items() <= offer.label_values.items()
    assert len(offer.candidates) == 1


def test_a_table_by_another_name_is_read_and_said(tmp_path: Path) -> None:
    """A folder is not guessed at where its table is merely called otherwise."""
    source = _source(tmp_path / "source", "a.tif", "b.tif")
    (source / "Dataset.TSV").write_text("id\timage\tlabel\na\ta.tif\tb.tif\n")
    (found,) = _list(source, tmp_path / "scratch")
    assert (found.id, found.image, found.label) == ("a", "a.tif", "b.tif")
    (source / "Dataset.csv").write_text("")
    with pytest.raises(DataError, match="several tables"):
        _list(source, tmp_path / "other")


@pytest.mark.parametrize("names", [(), ("a.tif", "b.tif"), ("raw/a.tif",)])
def test_folder_of_neither_kind_is_refused_with_what_it_holds(tmp_path: Path, names: tuple[str, ...]) -> None:
    """The error says what was looked for, what is there, and how to write the table."""
    source = tmp_path / "source"
    source.mkdir()
    for name in names:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"neither a dataset\.csv nor") as refused:
        _list(source, tmp_path / "scratch")
    assert refused.value.file == "my/source"
    assert str(refused.value.value).startswith(names[0].split("/")[0] if names else "an empty folder")
    assert "id,image,label" in refused.value.remedy
