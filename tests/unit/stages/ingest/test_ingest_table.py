"""dataset.csv: every rule of the table, by whole table and by row."""

from pathlib import Path

import pytest

from stages.common.dataset import table
from stages.common.dataset.ids import is_safe_id
from stages.common.dataset.paths import is_plain, is_short, stays_inside
from stages.common.errors import DataError
from stages.ingest import table as ingest_table
from stages.ingest.candidates import Candidate
from stages.ingest.table import read_table
from tests.unit.stages.ingest.made import HEADER, SPACING_UM, row, write_table


def _read(tmp_path: Path, *rows: dict[str, object]) -> list[Candidate]:
    return _read_file(write_table(tmp_path, list(rows)))


def _read_file(file: Path, *names: str) -> list[Candidate]:
    """With a source that holds `names`, none of them in a folder, or in images/."""
    inside = [name.removeprefix("images/") for name in names if name.startswith("images/")]
    top = [name for name in names if "/" not in name] + (["images"] if inside else [])
    return list(
        read_table(file, "source/dataset.csv", lambda folder: {"": top, "images": inside}.get(folder, [])).candidates
    )


def _write(tmp_path: Path, content: str) -> Path:
    (tmp_path / "dataset.csv").write_bytes(content.encode())
    return tmp_path / "dataset.csv"


def test_good_rows_become_candidates_in_their_order(tmp_path: Path) -> None:
    """Ids, paths and spacing in z, y, x are those of the table; without a group a volume is its own."""
    first, second = _read(
        tmp_path, row("b", spacing_z_um="5", spacing_x_um="0.25"), row("a", image="./images/a.ome.tif")
    )
    assert (first.id, first.group, first.image, first.label) == ("b", "b", "images/b.tif", "labels/b.tif")
    assert first.spacing_um == (5.0, 0.5, 0.25)
    assert (second.image, second.label) == ("images/a.ome.tif", "labels/a.tif")
    assert not first.reasons
    assert not second.reasons


@pytest.mark.parametrize("other", ["gehör 1".replace("ö", "o\u0308"), "gehör\u00a01", " gehör  1"])
def test_a_group_in_two_spellings_that_look_the_same_is_one(tmp_path: Path, other: str) -> None:
    """Else one animal could be on both sides of a fold."""
    first, second = _read(tmp_path, row("a", group="gehör 1"), row("b", group=other))
    assert first.group == second.group == "gehör 1"


@pytest.mark.parametrize(
    ("groups", "is_said"),
    [
        (("m1", "", "", "m2", ""), True),
        (("m1", "m1", "", "m2", ""), False),
        (("", "m1", "", "m2", ""), False),
        (("m1", "m2", "m3", "m4", "m5"), False),
        (("", "", "", "", ""), False),
    ],
)
def test_groups_of_merged_cells_are_said(tmp_path: Path, groups: tuple[str, ...], is_said: bool) -> None:
    """A spreadsheet saves the first of them alone: stacks of one animal would be trained on and validated."""
    rows = [row(name, group=group) for name, group in zip("abcde", groups, strict=True)]
    notes = read_table(write_table(tmp_path, rows), "dataset.csv", lambda _: []).notes
    assert any(note.startswith("3 of 5 rows have no group, and no two rows share one") for note in notes) is is_said


@pytest.mark.parametrize("name", ["NA", "nan", "None", "-"])
def test_a_group_that_may_be_none_is_said(tmp_path: Path, name: str) -> None:
    """As R and pandas write an empty cell: stacks of many animals would be one group, on one side of every fold."""
    rows = [row("a", group=name), row("b", group=name), row("c", group="m1"), row("d", group="m1")]
    offer = read_table(write_table(tmp_path, rows), "dataset.csv", lambda _: [])
    assert [candidate.group for candidate in offer.candidates] == [name, name, "m1", "m1"]
    assert offer.notes == (f"2 rows are one group, {name!r}; leave their cells empty if they have none",)


@pytest.mark.parametrize(("one", "other"), [("Mouse1", "mouse1"), ("7", "7.0"), ("7", "007"), ("10.", "10")])
def test_groups_that_a_person_may_take_for_one_are_said(tmp_path: Path, one: str, other: str) -> None:
    """They stay two: a person knows whether they are."""
    rows = [row("a", group=one), row("b", group=other), row("c", group="mouse2"), row("d", group="70")]
    offer = read_table(write_table(tmp_path, rows), "dataset.csv", lambda _: [])
    assert [candidate.group for candidate in offer.candidates] == [one, other, "mouse2", "70"]
    assert offer.notes == (
        f"groups that differ only in case, or in how a number is written, are counted apart: {one}, {other}",
    )


def test_group_column_is_read_and_may_be_empty(tmp_path: Path) -> None:
    """Stacks of one animal share a group; an empty cell means the volume itself."""
    first, second = _read(tmp_path, row("a", group="mouse 1"), row("b", group=""))
    assert (first.group, second.group) == ("mouse 1", "b")


def test_spreadsheet_habits_are_taken(tmp_path: Path) -> None:
    """A byte order mark, spaces around cells, blank lines, further columns and another order of columns do no harm."""
    file = tmp_path / "dataset.csv"
    lines = [
        "label, id ,image,spacing_x_um,spacing_y_um,spacing_z_um,remark",
        " l.tif , a , i.tif ,1,2,3,hello",
        "",
        ",,,",
    ]
    file.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    (candidate,) = _read_file(file)
    assert (candidate.id, candidate.group, candidate.image, candidate.label) == ("a", "a", "i.tif", "l.tif")
    assert (candidate.spacing_um, candidate.origin) == ((3.0, 2.0, 1.0), "line 2 of the table")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "lacks the columns id, image, label"),
        (b"id;image\n", "line 1: it lacks the column label$"),
        (b"\n\nid,file,label\n", "line 3: it lacks the column image\n    'file' may be image"),
        (b"id,image,label,spacing_z\n", "'spacing_z' may be a spacing, but has no unit: name it spacing_z_um or"),
        (b"id,image,label,spacing_z_nm\n", "'spacing_z_nm' is in nm"),
        (b"id,image,label,spcing_z_um\n", "'spcing_z_um' may be a spacing of one axis"),
        (b"id,img,raw,label\n", "column image twice: 'img', 'raw'"),
        (b"PK\x03\x04", "is a spreadsheet"),
        ("id,image,label\nмышь".encode("cp1251"), "line 2 is not UTF-8, and its encoding"),
        ("id,image,label\nö".encode("mac-roman"), "line 2 is not UTF-8, and its encoding"),
        ("id,image,label\n图像".encode("gbk"), "its encoding"),
        ("id,image,label\n".encode("utf-16-le"), "NUL characters: UTF-16 without"),
        ("id,image,label,µm\n".encode("utf-16-be"), "NUL characters: UTF-16 without"),
        (b"#\n" * 1001, "1,001 lines before its header"),
        (b"id,image,label,voxel_size_z\n", "'voxel_size_z' may be a spacing, but has no unit"),
        (b'"id,image,label\n', "not CSV: line 1"),
        (b"\xff\xfe\x00", "announce utf-16"),
        (",".join(HEADER).encode() + b"\n", "no rows"),
        ((",".join(HEADER) + ",id\n").encode(), "the column id twice: 'id', 'id'"),
        (b"\xff\xfe" + ",".join(HEADER).encode("utf-16-le"), "no rows"),
        (",".join(HEADER).encode() + b'\n"open', "not CSV: line 2"),
    ],
)
def test_table_that_cannot_be_used_is_refused_at_once(tmp_path: Path, content: bytes, says: str) -> None:
    """The error names the table and what its header must hold."""
    file = tmp_path / "dataset.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=says) as refused:
        _read_file(file)
    assert refused.value.file == "source/dataset.csv"
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spacing_z_um": "two"}, "spacing_z_um 'two' is not a number"),
        ({"spacing_y_um": "1.234,5"}, "spacing_y_um '1.234,5' is not a number"),
        ({"spacing_y_um": "500 nm"}, "spacing_y_um '500 nm' is not a number"),
        ({"spacing_y_um": "1_0"}, "spacing_y_um '1_0' is not a number"),
        ({"spacing_y_um": "nan"}, "'nan' is not a number"),
        ({"spacing_y_um": "inf"}, "'inf' is not a number"),
        ({"spacing_x_um": "-1"}, "'-1' is outside 0.01 to 100 µm"),
        ({"spacing_x_um": "0"}, "'0' is outside"),
        ({"spacing_x_um": "994"}, "'994' is outside"),
        ({"image": ""}, "image is empty"),
        ({"image": "../secret.tif"}, "image '../secret.tif' leads outside the source"),
        ({"label": "/etc/secret.tif"}, "leads outside the source"),
        ({"label": "a/../../b.tif"}, "leads outside the source"),
        ({"image": "..\\a.tif"}, "leads outside the source"),
        ({"image": "C:\\data\\a.tif"}, "leads outside the source"),
        ({"image": "images/a.png"}, "no supported format"),
        ({"id": ""}, "id is empty"),
        ({"id": "../a"}, "id '../a' is a path and cannot name a folder"),
        ({"id": "a\\..\\b"}, "cannot name a folder"),
        ({"id": "a" * 101}, "is too long"),
        ({"id": "ä" * 121}, "is too long"),
        ({"id": "a\u200b"}, "has an invisible character"),
        ({"id": "(?)"}, "has neither letters nor digits"),
        ({"spacing_z_um": "0.0099"}, "'0.0099' is outside"),
        ({"spacing_z_um": "100.1"}, "'100.1' is outside"),
        ({"label": "labels/a.nii.zip"}, "no supported format"),
    ],
)
def test_wrong_row_becomes_a_reason_and_the_others_stay(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    """A row's fault is told with column and value, and costs that row alone."""
    wrong, good = _read(tmp_path, row("a") | changes, row("b"))
    assert any(says in reason and reason.startswith("line 2: ") for reason in wrong.reasons)
    assert not good.reasons
    assert wrong.id == ("a" if "id" not in changes else "line 2")
    assert (good.id, good.spacing_um) == ("b", SPACING_UM)


def test_every_fault_of_a_row_is_told(tmp_path: Path) -> None:
    """One look is enough to correct a row."""
    (wrong,) = _read(tmp_path, row("a", image="../a.tif", spacing_z_um="x", spacing_x_um="1e9"))
    assert len(wrong.reasons) == 3


@pytest.mark.parametrize("image", ["m2.5", "m2.5/", "M2.5\\"])
def test_a_folder_of_slices_may_have_a_dot_in_its_name(tmp_path: Path, image: str) -> None:
    """It looks like the name of a file in an unknown format."""
    file = write_table(tmp_path, [row("a", image=image, label="l.tif")])
    source = {"": ["m2.5", "l.tif"], "m2.5": ["z0.tif"]}
    (found,) = read_table(file, "dataset.csv", lambda folder: source.get(folder, [])).candidates
    assert (found.image, found.reasons) == ("m2.5", ())


def test_ids_that_would_share_a_folder_are_all_refused(tmp_path: Path) -> None:
    """Which of two rows with one id is right cannot be known; case does not make a difference on every disk."""
    rows = _read(tmp_path, row("a"), row("A"), row("b"))
    assert rows[0].reasons == ("line 2: id 'a' is the same folder, a, as that of 'A' (line 3): give each its own",)
    assert [bool(each.reasons) for each in rows] == [True, True, False]


@pytest.mark.parametrize(
    ("row_text", "says"),
    [
        ("1,i.tif,l.tif,5,0.9", "its row has 5 fields, the header has 6"),
        ("1,i.tif", "its row has 2 fields, the header has 6"),
        ("1,i.tif,l.tif,5,0,9,1,1", "its row has 8 fields, the header has 6: column 7 has no name and holds '1'"),
    ],
)
def test_row_of_another_length_is_refused(tmp_path: Path, row_text: str, says: str) -> None:
    """A row with too few or too many fields is not shifted into place."""
    (candidate,) = _read_file(_write(tmp_path, f"{','.join(HEADER)}\n{row_text}\n"))
    assert candidate.reasons[0].startswith(f"line 2: {says}")
    assert candidate.spacing_um is None


@pytest.mark.parametrize("row_text", ["a,i.tif,l.tif,5,0.9,1.1,,", "a,i.tif,l.tif,5,0.9,1.1", "a,i.tif,l.tif"])
def test_empty_fields_at_the_end_may_be_there_or_lack(tmp_path: Path, row_text: str) -> None:
    """Spreadsheets add some, and leave out others."""
    (candidate,) = _read_file(_write(tmp_path, f"{','.join(HEADER)},,\n\n,,,\n{row_text}\n"))
    assert not candidate.reasons
    assert candidate.origin == "line 4 of the table"
    assert candidate.spacing_um == (None if row_text.endswith("l.tif") else (5, 0.9, 1.1))


def test_a_line_is_the_one_that_an_editor_shows(tmp_path: Path) -> None:
    """Behind a cell of two lines, and one that a spreadsheet puts first."""
    rows = 'sep=;\nid;image;label;remark\na;i.tif;l.tif;"two\nlines"\nb;;l.tif;\n'
    good, wrong = _read_file(_write(tmp_path, rows))
    assert not good.reasons
    assert wrong.reasons == ("line 5: image is empty",)


@pytest.mark.parametrize(
    ("cells", "spacing_um"), [(",,", None), ("5,,", (5.0, None, None)), ("5,0.9,1.1", (5.0, 0.9, 1.1))]
)
def test_an_empty_spacing_is_left_to_the_header(
    tmp_path: Path, cells: str, spacing_um: tuple[float | None, ...] | None
) -> None:
    """Axis by axis."""
    (candidate,) = _read_file(_write(tmp_path, f"{','.join(HEADER)}\na,i.tif,l.tif,{cells}\n"))
    assert (candidate.spacing_um, candidate.reasons) == (spacing_um, ())


@pytest.mark.parametrize(
    ("name", "mapped"),
    [
        ("a (1)", "a_1_"),
        ("mouse 3", "mouse_3"),
        ("exp1/m2", "exp1_m2"),
        (".hidden", "_.hidden"),
        ("volumes.csv", "volumes.csv_"),
        ("Validation.JSON", "Validation.JSON_"),
    ],
)
def test_an_id_is_mapped_to_a_safe_name_and_said(tmp_path: Path, name: str, mapped: str) -> None:
    """People's names for stacks hold blanks and brackets."""
    (candidate,) = _read(tmp_path, row("a", id=name))
    assert (candidate.id, candidate.group, candidate.reasons) == (mapped, mapped, ())
    assert candidate.warnings == (f'id "{name}" → {mapped}',)
    assert is_safe_id(mapped)


def test_an_id_in_another_form_of_unicode_is_not_worth_a_word(tmp_path: Path) -> None:
    """It looks the same."""
    (candidate,) = _read(tmp_path, row("a", id="geho\u0308r"))
    assert (candidate.id, candidate.warnings) == ("geh\u00f6r", ())


@pytest.mark.parametrize(
    ("written", "found", "says"),
    [
        ("images\\a.tif", "images/a.tif", ""),
        ("/data/set1/images/a.tif", "images/a.tif", "is an absolute path; images/a.tif in the source is read"),
        ("D:\\set1\\images\\a.tif", "images/a.tif", "is an absolute path"),
        ("images/A.TIF", "images/a.tif", "differs in upper and lower case; images/a.tif is read"),
        ("images/o\u0308.tif", "images/\u00f6.tif", "is in another form of Unicode"),
        ("images/b.tif", "images/b.tif", ""),
    ],
)
def test_a_file_is_found_in_spite_of_its_spelling(tmp_path: Path, written: str, found: str, says: str) -> None:
    """Where one file of the source fits; what was done is a warning."""
    file = _write(tmp_path, f"id,image,label\na,{written},l.tif\n")
    (candidate,) = _read_file(file, "images/a.tif", "images/\u00f6.tif", "images/b.tif", "images/B.tif", "l.tif")
    assert (candidate.image, candidate.reasons) == (found, ())
    assert [says in warning for warning in candidate.warnings] == ([True] if says else [])


def test_a_name_that_fits_two_files_is_refused(tmp_path: Path) -> None:
    """Which one is meant cannot be known."""
    file = _write(tmp_path, "id,image,label\na,images/B.TIF,l.tif\n")
    (candidate,) = _read_file(file, "images/b.tif", "images/B.tif")
    assert "line 2: image 'images/B.TIF' matches several names in the source (b.tif, B.tif)" in candidate.reasons[0]


def test_absolute_paths_of_two_folders_are_refused(tmp_path: Path) -> None:
    """Else files of another set would be taken for those that are called alike here."""
    file = _write(tmp_path, "id,image,label\na,/one/images/a.tif,l.tif\nb,/two/images/b.tif,l.tif\n")
    for candidate in _read_file(file, "images/a.tif", "images/b.tif"):
        assert candidate.reasons[0].endswith("absolute paths are in several folders (/one, /two); make them relative")


def test_a_copy_is_found_in_another_spelling(tmp_path: Path) -> None:
    """The second row names the first one's image in capitals."""
    file = _write(tmp_path, "id,image,label\na,images/a.tif,l.tif\nb,Images/A.tif,l.tif\n")
    _, copy = _read_file(file, "images/a.tif")
    assert copy.reasons == ("line 3: image 'images/a.tif' is an earlier row's image (line 2)",)


@pytest.mark.parametrize(
    ("path", "inside"), [("a.tif", True), ("a/../b", True), ("..", False), (".", False), ("/a", False)]
)
def test_paths_stay_inside(path: str, inside: bool) -> None:
    """Only what lies below the source is reachable."""
    assert stays_inside(path) is inside


def test_ids_in_any_script_are_safe() -> None:
    """Letters are not only Latin ones."""
    assert is_safe_id("мышь_1")
    assert not is_safe_id("a b")
    assert is_safe_id("a" * 100)
    assert not is_safe_id("a" * 101)
    assert not is_safe_id("")


def test_the_widest_spacings_are_taken(tmp_path: Path) -> None:
    """0.01 µm and 100 µm are both valid."""
    (candidate,) = _read(tmp_path, row("a", spacing_z_um="100", spacing_x_um="0.01", label="./labels//a.tif"))
    assert (candidate.spacing_um, candidate.label) == ((100.0, 0.5, 0.01), "labels/a.tif")


@pytest.mark.parametrize(
    "path",
    [
        "C:/a.tif",
        "c:a.tif",
        "a\\b.tif",
        "/a.tif",
        "../a.tif",
        "a/../../b.tif",
        ".",
        "a\0.tif",
        "a\x1b.tif",
        "\udc80.tif",
    ],
)
def test_a_table_cannot_ask_for_names_that_lead_elsewhere(path: str) -> None:
    """Or that a message cannot show, whatever the source is."""
    assert not (stays_inside(path) and is_plain(path))


@pytest.mark.parametrize(("path", "fits"), [("a/" + "ä" * 127, True), ("a/" + "ä" * 128, False), ("a/" * 2100, False)])
def test_names_that_no_file_system_takes_are_told(path: str, fits: bool) -> None:
    """In bytes, each name and the whole path."""
    assert is_short(path) == fits


@pytest.mark.parametrize(
    ("limit", "value", "says"),
    [
        ("MAX_TABLE_BYTES", 100, r"the table has \d+ bytes, the limit is 100"),
        ("MAX_ROWS", 2, "the table has 3 rows, the limit is 2"),
        ("MAX_LINES", 2, "the table has 4 lines, the limit is 2"),
        ("MAX_COLUMNS", 5, "the table has 6 columns, the limit is 5"),
    ],
)
def test_a_table_without_an_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, says: str
) -> None:
    """With what it has and the limit."""
    monkeypatch.setattr(table, limit, value)
    monkeypatch.setattr(ingest_table, limit, value, raising=False)
    with pytest.raises(DataError, match=says) as refused:
        _read(tmp_path, row("a"), row("b"), row("c"))
    assert refused.value.file == "source/dataset.csv"


def test_an_image_in_several_rows_counts_once(tmp_path: Path) -> None:
    """In whatever spelling: it would be copied and read again for each. A label may be shared."""
    rows = [row("a"), row("b", image="./images//a.tif"), row("c", image="images/a.tif", label="labels/a.tif")]
    first, *others = _read(tmp_path, *rows)
    assert not first.reasons
    for each in others:
        assert [reason.partition(" is ")[2] for reason in each.reasons] == ["an earlier row's image (line 2)"]


def test_a_name_that_no_file_system_takes_is_the_row_s_reason(tmp_path: Path) -> None:
    """Not an error of the system in the middle of the work."""
    (candidate,) = _read(tmp_path, row("a", image=f"images/{'n' * 300}.tif"))
    assert "is too long: file systems take names of 255 bytes" in candidate.reasons[0]
