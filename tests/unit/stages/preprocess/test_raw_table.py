"""The table of valid stacks: what ingest wrote is what is read, in any order; anything else is refused."""

from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.preprocess.raw import RawVolume, read_raw

HEADER = (
    "id,group,image,label,shape_z,shape_y,shape_x,spacing_z_um,spacing_y_um,spacing_x_um,"
    "dtype,image_sha256,label_sha256,label_foreground_value"
)
ROWS = [
    "b,g,b/image.tif,b/label.tif,3,4,5,5.0,0.994,0.5,uint8,11,22,255",
    '"a, left",g,a/image.nii.gz,a/label.nii.gz,30,40,50,1,2,3,uint16,33,44,1',
]


def write(folder: Path, *lines: str) -> Path:
    """A table with these lines."""
    (folder / "volumes.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_rows_come_sorted_by_id(tmp_path: Path) -> None:
    """Every field in its type, paths below the folder, whatever the order of rows."""
    one = read_raw(write(tmp_path, HEADER, *ROWS))
    assert read_raw(write(tmp_path, HEADER, *reversed(ROWS))) == one
    assert [volume.id for volume in one] == ["a, left", "b"]
    assert one[1] == RawVolume(
        id="b",
        group="g",
        image=tmp_path / "b" / "image.tif",
        label=tmp_path / "b" / "label.tif",
        shape_zyx=(3, 4, 5),
        spacing_um=(5.0, 0.994, 0.5),
        content="11",
    )
    assert one[0].voxels == 60_000


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((HEADER,), "no valid stack"),
        (("",), "no valid stack"),
        ((HEADER, ROWS[0], ROWS[0]), "an id occurs twice"),
        ((HEADER.replace("group,", ""), ROWS[0].replace("g,", "", 1)), "lacks the column 'group'"),
        ((HEADER.replace("_y_um", "_y"), ROWS[0]), "lacks the column 'spacing_y_um'"),
        ((HEADER, ROWS[0].replace("0.994", "one")), "line 2 .*one"),
        ((HEADER, ROWS[0], "c,g,c/image.tif,c/label.tif,3,four,5,1,1,1,uint8,1,2,1"), "line 3 .*four"),
        ((HEADER, "c,g,c/image.tif"), "line 2"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, lines: tuple[str, ...], says: str) -> None:
    """The message names the line or column."""
    with pytest.raises(DataError, match=says) as caught:
        read_raw(write(tmp_path, *lines))
    assert "volumes.csv" in caught.value.report()


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    """With the command that makes it."""
    with pytest.raises(DataError, match="missing") as caught:
        read_raw(tmp_path)
    assert "dvc repro ingest" in caught.value.remedy
    assert caught.value.file == tmp_path / "volumes.csv"


def test_a_repeated_id_is_shown(tmp_path: Path) -> None:
    """Its rows need not follow each other."""
    with pytest.raises(DataError) as caught:
        read_raw(write(tmp_path, HEADER, ROWS[0], ROWS[1], ROWS[0]))
    assert caught.value.value == "b"
