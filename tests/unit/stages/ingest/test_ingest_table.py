"""dataset.csv: every rule of the table, by whole table and by row."""

from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.ingest import table
from stages.ingest.candidates import Candidate
from stages.ingest.table import is_plain, is_safe_id, is_short, read_table, stays_inside
from tests.unit.stages.ingest.made import HEADER, SPACING_UM, row, write_table


def _read(tmp_path: Path, *rows: dict[str, object]) -> list[Candidate]:
    return read_table(write_table(tmp_path, list(rows)), "source/dataset.csv")


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
    candidate, *rest = read_table(file, "dataset.csv")
    assert candidate == Candidate(id="a", group="a", image="i.tif", label="l.tif", spacing_um=(3.0, 2.0, 1.0))
    assert len(rest) <= 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "lacks the columns id"),
        (b"id,image,label,spacing_z_um,spacing_y_um\n", "lacks the column spacing_x_um$"),
        (b"id;image,label\n", "lacks the columns id, image, spacing_z_um, spacing_y_um, spacing_x_um$"),
        (";".join(HEADER).encode(), "separated by ';'"),
        ("\t".join(HEADER).encode(), "separated by '\\\\t'"),
        (",".join(HEADER).encode() + b"\n", "no rows"),
        ((",".join(HEADER) + ",id\n").encode(), "twice: id"),
        (b"\xff\xfe" + ",".join(HEADER).encode("utf-16-le"), "UTF-8"),
        (",".join(HEADER).encode() + b'\n"open', "not CSV"),
    ],
)
def test_table_that_cannot_be_used_is_refused_at_once(tmp_path: Path, content: bytes, says: str) -> None:
    """The error names the table and what its header must hold."""
    file = tmp_path / "dataset.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=says) as refused:
        read_table(file, "source/dataset.csv")
    assert refused.value.file == "source/dataset.csv"
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spacing_z_um": "two"}, "spacing_z_um 'two' is not a number"),
        ({"spacing_z_um": ""}, "spacing_z_um is empty"),
        ({"spacing_y_um": "0,5"}, "spacing_y_um '0,5' is not a number"),
        ({"spacing_y_um": "nan"}, "'nan' is not a number"),
        ({"spacing_y_um": "inf"}, "'inf' is not a number"),
        ({"spacing_x_um": "-1"}, "'-1' is outside 0.01 to 100 µm"),
        ({"spacing_x_um": "0"}, "'0' is outside"),
        ({"spacing_x_um": "994"}, "'994' is outside"),
        ({"image": ""}, "image is empty"),
        ({"image": "../secret.tif"}, "image '../secret.tif' leads out of the source"),
        ({"label": "/etc/secret.tif"}, "leads out of the source"),
        ({"label": "a/../../b.tif"}, "leads out of the source"),
        ({"image": "images\\a.tif"}, "leads out of the source"),
        ({"image": "images/a.png"}, "neither TIFF nor NIfTI"),
        ({"id": ""}, "id is empty"),
        ({"id": "../a"}, "id '../a' cannot name a folder"),
        ({"id": "a/b"}, "cannot name a folder"),
        ({"id": "volumes.csv"}, "cannot name a folder"),
        ({"id": "Validation.JSON"}, "cannot name a folder"),
        ({"spacing_z_um": "0.0099"}, "'0.0099' is outside"),
        ({"spacing_z_um": "100.1"}, "'100.1' is outside"),
        ({"label": "labels/a.nii.zip"}, "neither TIFF nor NIfTI"),
        ({"id": ".hidden"}, "cannot name a folder"),
    ],
)
def test_wrong_row_becomes_a_reason_and_the_others_stay(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    """A row's fault is told with column and value, and costs that row alone."""
    wrong, good = _read(tmp_path, row("a") | changes, row("b"))
    assert any(says in reason for reason in wrong.reasons)
    assert not good.reasons
    assert wrong.id == ("a" if "id" not in changes else "row 1")
    assert wrong.spacing_um is None
    assert (good.id, good.spacing_um) == ("b", SPACING_UM)


def test_every_fault_of_a_row_is_told(tmp_path: Path) -> None:
    """One look is enough to correct a row."""
    (wrong,) = _read(tmp_path, row("a", image="../a.tif", spacing_z_um="x", spacing_x_um="1e9"))
    assert len(wrong.reasons) == 3


def test_ids_that_would_share_a_folder_are_all_refused(tmp_path: Path) -> None:
    """Which of two rows with one id is right cannot be known; case does not make a difference on every disk."""
    rows = _read(tmp_path, row("a"), row("A"), row("b"))
    assert [any("several rows" in reason for reason in each.reasons) for each in rows] == [True, True, False]


@pytest.mark.parametrize("fields", [5, 7])
def test_row_of_another_length_is_refused(tmp_path: Path, fields: int) -> None:
    """A row with too few or too many fields is not shifted into place."""
    file = tmp_path / "dataset.csv"
    file.write_text(",".join(HEADER) + "\n" + ",".join(["1"] * fields) + "\n")
    (candidate,) = read_table(file, "dataset.csv")
    assert candidate.reasons == (f"its row has {fields} fields, the header has 6",)


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
        ("MAX_COLUMNS", 5, "the table has 6 columns, the limit is 5"),
    ],
)
def test_a_table_without_an_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, says: str
) -> None:
    """With what it has and the limit."""
    monkeypatch.setattr(table, limit, value)
    with pytest.raises(DataError, match=says) as refused:
        _read(tmp_path, row("a"), row("b"), row("c"))
    assert refused.value.file == "source/dataset.csv"


def test_an_image_in_several_rows_counts_once(tmp_path: Path) -> None:
    """In whatever spelling: it would be copied and read again for each. A label may be shared."""
    rows = [row("a"), row("b", image="./images//a.tif"), row("c", image="images/a.tif", label="labels/a.tif")]
    first, *others = _read(tmp_path, *rows)
    assert not first.reasons
    for each in others:
        assert [reason.partition(" is ")[2] for reason in each.reasons] == ["an earlier row's image"]


def test_a_name_that_no_file_system_takes_is_the_row_s_reason(tmp_path: Path) -> None:
    """Not an error of the system in the middle of the work."""
    (candidate,) = _read(tmp_path, row("a", image=f"images/{'n' * 300}.tif"))
    assert "is too long: file systems take names of 255 bytes" in candidate.reasons[0]
