"""Tables in every spelling: what was written comes back."""

import csv
import io
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.dataset.columns import ACCEPTED, COLUMNS, SPACING, find_columns, key_of
from stages.common.dataset.ids import clashes, fault_of, is_safe_id, others_of, safe_id
from stages.common.dataset.lengths import micrometres_in
from stages.common.dataset.paths import Tree, with_slashes
from stages.common.dataset.table import read_rows
from stages.common.errors import DataError

_ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda text: text.encode(),
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16-le": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "utf-16-be": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
}
_HEADERS = (
    ("id", "image", "label", *SPACING),
    ("Id", " IMAGE", "Mask ", "Spacing_z_um", "spacing_y (µm)", "spacing_x_μm"),
    ("Name", "img_path", "Segmentation", "Voxel size Z (um)", "voxel-size-y-micron", "dx [µm]"),
)
_SIGNS = "aZ09éßµжİ図\u0308 ()[]_-./,;\t\"'&#"  # sampled: strategies over all of Unicode take seconds to start
_WORDS = st.text(st.sampled_from(_SIGNS), min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and text[0] not in "'-"
)
_LENGTHS = st.floats(0.01, 100).map(lambda value: float(f"{value:.4g}"))
_ROWS = st.lists(st.tuples(_WORDS, _WORDS, _WORDS, _LENGTHS, _LENGTHS, _LENGTHS), min_size=1, max_size=4)


def _written(
    rows: list[tuple[str | float, ...]], header: tuple[str, ...], separator: str, end: str, *, comma: bool, quoted: bool
) -> str:
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow([*header, ""])
    for row in rows:
        writer.writerow([])
        cells = [str(cell).replace(".", ",") if comma and isinstance(cell, float) else str(cell) for cell in row]
        writer.writerow([*cells, "", ""])
    return text.getvalue()


@settings(max_examples=120, deadline=None)
@given(
    rows=_ROWS,
    header=st.sampled_from(_HEADERS),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(sorted(_ENCODINGS)),
    comma=st.booleans(),
    quoted=st.booleans(),
)
def test_a_table_in_any_spelling_has_the_same_cells(
    rows: list[tuple[str | float, ...]],
    header: tuple[str, ...],
    separator: str,
    end: str,
    encoding: str,
    comma: bool,
    quoted: bool,
) -> None:
    """Encoding, separator, ends of lines, decimal sign, quotes, names of columns and empty cells do not matter."""
    data = _ENCODINGS[encoding](_written(rows, header, separator, end, comma=comma, quoted=quoted))
    read = read_rows(data, "dataset.csv").rows
    assert [row.line for row in read] == [3 + 2 * number for number in range(len(rows))]
    for row, written in zip(read, rows, strict=True):
        assert not row.faults
        assert [row.cells[name] for name in COLUMNS[:3]] == list(written[:3])
        assert [micrometres_in(row.cells[name]) for name in SPACING] == list(written[3:])


@pytest.mark.parametrize(
    ("text", "ids", "note"),
    [
        ("# made by hand\n\n# of, two\nid,image,label\na,b,c\n", {"a": 5}, ""),
        ("#id;image;label\n#1;b;c\n", {"#1": 2}, ""),
        ("id,image,label\n# first\na,b,c\n#,,\n# x, y\n", {"a": 3}, "comments: 2, 4, 5"),
        ('"","id","image","label"\n"1","a","b","c"\n"2","d","e","f"\n', {"a": 2, "d": 3}, "counts the rows"),
        (",id,image,label\n0,a,b,c\n", {"a": 2}, "counts the rows"),
        ('="id",image,label\n="007",="b",c\n"=""008""",b,c\n', {"007": 2, "008": 3}, ""),
    ],
)
def test_what_programs_and_people_add_is_passed_over(text: str, ids: dict[str, int], note: str) -> None:
    """Comments, the numbers of rows that R and pandas write, Excel's form of a text; lines count as in an editor."""
    table = read_rows(text.encode(), "dataset.csv")
    assert {row.cells["id"]: row.line for row in table.rows} == ids
    assert not any(row.faults for row in table.rows)
    assert note in " ".join(table.notes)


@pytest.mark.parametrize("word", ["spacing_z_µm", "gehör", "Größe", "façade", "Señor 3"])
def test_latin_1_is_read_where_it_can_be_nothing_else(word: str) -> None:
    """Accented letters among plain ones; it is said."""
    table = read_rows(f"id,image,label\n{word},a.tif,b.tif\n".encode("latin-1"), "dataset.csv")
    assert table.rows[0].cells["id"] == word
    assert table.notes == ("the table is not UTF-8 (line 2); it is read as Latin-1",)


@pytest.mark.parametrize(
    ("cell", "value"),
    [("0,5", 0.5), ("5", 5.0), (".5", 0.5), ("5 µm", 5.0), ("5um", 5.0), ("1e1", 10.0), ("+2", 2.0), ("1,000", 1.0)],
)
def test_lengths_are_read(cell: str, value: float) -> None:
    """With a point or a comma, with the unit or without."""
    assert micrometres_in(cell) == value


@pytest.mark.parametrize("cell", ["", "x", "1.2.3", "1,2,3", "nan", "inf", "5 nm", "0x1", "1e999", "٣"])
def test_what_is_no_length_is_none(cell: str) -> None:
    """Nothing is guessed."""
    assert micrometres_in(cell) is None


def test_no_accepted_name_is_unreachable() -> None:
    """Each is in the form that is compared, and names one column."""
    assert all(key_of(name) == name for name in ACCEPTED)
    assert find_columns(("id", "image", "label"))[1] == []


def test_a_column_by_its_own_name_comes_before_others_that_mean_it() -> None:
    """`label` may be a file next to a column `mask` of another purpose."""
    columns, faults = find_columns(("name", "id", "image", "raw", "mask", "label"))
    assert not faults
    assert [columns.names[name] for name in ("id", "image", "label")] == ["id", "image", "label"]
    assert columns.notes == ("the column 'image' is read, not 'raw'", "the column 'label' is read, not 'mask'")


@pytest.mark.parametrize(
    ("names", "maybe"),
    [
        (("um_z", "um_y", "um_x"), "'um_z', 'um_y', 'um_x'"),
        (("scale z", "age", "thickness (µm)"), "'scale z', 'thickness (µm)'"),
        (("x-ray", "scale", "num_voxels", "sex"), ""),
        (("dz_nm", "zstep", "zpatient", "xsize"), "'dz_nm', 'zstep'"),
        (("µm per px", "slice (µm)", "slices", "cells_per_mm"), "'µm per px', 'slice (µm)'"),
        (("spacing_z_um", "y_um", "x_um", "size_mm"), ""),
    ],
)
def test_a_column_that_may_be_a_spacing_is_not_passed_over_in_silence(names: tuple[str, ...], maybe: str) -> None:
    """The headers' spacing counts where the table has none, whatever a column of another name says."""
    columns, faults = find_columns(("id", "image", "label", *names))
    assert not faults
    said = f"not read: {maybe}; if they are spacings, name them spacing_z_um, spacing_y_um, spacing_x_um"
    assert [note for note in columns.notes if note.startswith("not read")] == ([said] if maybe else [])


def test_a_column_that_may_be_the_group_is_said_to_be_passed_over() -> None:
    """Groups change every interval, so none is guessed."""
    columns, _ = find_columns(("id", "image", "label", "Animal"))
    assert columns.notes == ("the column 'Animal' is not read; name it group if its stacks belong together",)


@given(st.text(st.sampled_from([*_SIGNS, "\\", "\u200b", "\n", "ſ"]), max_size=130))
def test_a_mapped_id_is_safe_and_maps_to_itself(name: str) -> None:
    """Whatever people type."""
    if not fault_of(name):
        assert is_safe_id(safe_id(name))
        assert safe_id(safe_id(name)) == safe_id(name)


def test_ids_that_share_a_folder_are_found() -> None:
    """By what they are mapped to, in any case and form of Unicode."""
    assert clashes(["a b", "c", "A(b", "ö", "o\u0308"]) == {0: [0, 2], 2: [0, 2], 3: [3, 4], 4: [3, 4]}
    assert [others_of(place, [1, 2, 3, 4, 5]) for place in (1, 3, 5)] == [[2, 3, 4], [1, 2, 4], [1, 2, 3]]


def test_a_table_of_equal_ids_takes_memory_for_each_once() -> None:
    """A list of all others for each of 50,000 rows would take 20 GB."""
    found = clashes(["a"] * 100)
    assert len(found) == 100
    assert len({id(places) for places in found.values()}) == 1


@given(st.lists(st.text(st.sampled_from("aAäÄßẞιΙſs\u0308"), min_size=1, max_size=8), min_size=1, max_size=6))
def test_every_name_of_a_source_is_found_by_itself(names: list[str]) -> None:
    """And in the other form of Unicode, where no other name of the source is spelled so."""
    tree = Tree(list_folder=lambda folder: names if folder == "" else [])
    for name in names:
        assert tree.find(name).path == name
        other = unicodedata.normalize("NFD", name)
        if len({unicodedata.normalize("NFC", each) for each in names}) == len(set(names)):
            assert unicodedata.normalize("NFC", tree.find(other).path) == unicodedata.normalize("NFC", name)


def test_nothing_is_listed_below_what_is_not_there() -> None:
    """An absolute path of many folders is tried from each of them: that would be as many lists as its square."""
    listed: list[str] = []
    tree = Tree(list_folder=lambda folder: listed.append(folder) or (["a"] if folder == "" else []))  # type: ignore[func-returns-value]
    assert tree.inside("/" + "/".join(f"d{level}" for level in range(200))) is None
    assert tree.inside("/a/b/c/d.tif") is None
    assert listed == ["", "a"]


def test_a_folder_that_cannot_be_listed_has_no_names() -> None:
    """Such as a link that leads out of the source: it costs the volumes in it, not the whole set."""

    def names(folder: str) -> list[str]:
        if folder:
            raise DataError("it is a link to /data, an absolute path", remedy="copy the file")
        return ["images"]

    tree = Tree(list_folder=names)
    assert tree.find("images/a.tif").path == "images/a.tif"
    assert not tree.has("images/a.tif")


@pytest.mark.parametrize(
    ("path", "plain"), [("a\\b.tif", "a/b.tif"), (".\\a//b.tif", "a/b.tif"), ("", ""), ("a/../b", "b")]
)
def test_paths_of_windows_have_slashes(path: str, plain: str) -> None:
    """An empty cell stays one."""
    assert with_slashes(path) == plain
