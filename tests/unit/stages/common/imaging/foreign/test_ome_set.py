"""Stacks whose planes are in several OME-TIFF files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stages.common.errors import DataError
from stages.common.imaging import stacks
from stages.common.imaging.foreign import ome_set
from stages.common.imaging.foreign.ome_set import set_files
from stages.common.imaging.reading import open_stack
from stages.common.imaging.spacing import spacing_of
from stages.ingest.arrival import fetch_stack
from stages.ingest.sources.local import LocalFolder
from tests.support.stacks.any_form import read_header, read_shape, read_slices, read_stack

STACK = np.random.default_rng(3).integers(0, 60_000, (6, 2, 20, 16)).astype(np.uint16)  # z, c, y, x
NAMES = ("a_0.ome.tif", "a_1.ome.tif", "a_2.ome.tif")
SPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
OME = f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{SPACE}"'


def uuid(number: int) -> str:
    """That of the file of this number."""
    return f"urn:uuid:{number:08d}-0000-0000-0000-000000000000"


def pixels(planes: str, order: str = "XYZCT", channels: int = 1, depth: int = 6) -> str:
    """One Image with these references to planes."""
    named = "".join(f'<Channel ID="Channel:0:{number}" Name="c{number}"/>' for number in range(channels))
    return (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint16" SizeX="16" SizeY="20" '
        f'SizeZ="{depth}" SizeC="{channels}" SizeT="1" PhysicalSizeX="1.1" PhysicalSizeY="0.9" PhysicalSizeZ="5">'
        f"{named}{planes}</Pixels></Image>"
    )


def reference(z: int, file: int, page: int, *, channel: int = 0, name: str | None = None, more: str = "") -> str:
    """Where a plane is."""
    at = f'<TiffData FirstZ="{z}" FirstC="{channel}" FirstT="0" IFD="{page}" PlaneCount="1"{more}>'
    return f'{at}<UUID FileName="{NAMES[file] if name is None else name}">{uuid(file)}</UUID></TiffData>'


def write(file: Path, planes: np.ndarray, description: str, **how: object) -> None:
    """A TIFF with a page for each plane."""
    with tifffile.TiffWriter(file, **how) as tiff:  # type: ignore[arg-type]
        for number, plane in enumerate(planes):
            text = description.encode() if number == 0 else None
            tiff.write(plane, photometric="minisblack", description=text, metadata=None, contiguous=False)


def write_set(folder: Path, image: str, parts: list[np.ndarray], **how: object) -> list[Path]:
    """A file for each of `parts`, all with the same metadata."""
    for number, part in enumerate(parts):
        write(folder / NAMES[number], part, f'{OME} UUID="{uuid(number)}">{image}</OME>', **how)
    return [folder / name for name in NAMES[: len(parts)]]


def by_z(folder: Path, **how: object) -> list[Path]:
    """Two slices in each of three files."""
    image = pixels("".join(reference(z, z // 2, z % 2) for z in range(6)))
    return write_set(folder, image, [STACK[at : at + 2, 0] for at in (0, 2, 4)], **how)


@pytest.mark.parametrize("how", [{}, {"byteorder": ">", "bigtiff": True}])
def test_each_file_of_a_set_is_the_whole_stack(tmp_path: Path, how: dict[str, object]) -> None:
    """In the order of z, with the spacing of the metadata."""
    for file in by_z(tmp_path, **how):
        assert np.array_equal(read_stack(file), STACK[:, 0])
        assert np.array_equal(np.stack(list(read_slices(file))), STACK[:, 0])
        assert read_shape(file) == (6, 20, 16)
        header = read_header(file)
        assert spacing_of(header).spacing_um == (5.0, 0.9, 1.1)
        assert "its planes are in 3 files" in header.remarks
        assert sorted([file.name, *set_files(file)]) == sorted(NAMES)


@pytest.mark.parametrize(
    ("order", "references"),
    [
        ("XYZCT", lambda: "".join(reference(z, c, z, channel=c) for z in range(6) for c in range(2))),
        ("XYZCT", lambda: "".join(reference(0, c, 0, channel=c).replace('Count="1"', 'Count="6"') for c in range(2))),
        ("XYCZT", lambda: "".join(reference(5 - z, c, z, channel=c) for z in range(6) for c in range(2))),
    ],
)
def test_a_channel_is_chosen_whatever_the_order_of_planes(
    tmp_path: Path, order: str, references: Callable[[], str]
) -> None:
    """One file per channel, by number or by name."""
    image = pixels(references(), order, channels=2)
    file, _ = write_set(tmp_path, image, [STACK[:, 0], STACK[:, 1]])
    wanted = STACK[:, 1] if order == "XYZCT" else STACK[::-1, 1]
    for channel in (1, "c1"):
        assert np.array_equal(read_stack(file, channel), wanted)
    with pytest.raises(DataError, match="2 channels"):
        read_stack(file)


def test_metadata_may_be_in_a_companion(tmp_path: Path) -> None:
    """An XML file, or the first of the TIFFs."""
    image = pixels("".join(reference(z, z // 2, z % 2) for z in range(6)))
    (tmp_path / "a.companion.ome").write_text(f'{OME} UUID="urn:uuid:9">{image}</OME>')
    for number, name in enumerate(NAMES):
        only = '<BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:9"/>'
        write(tmp_path / name, STACK[2 * number : 2 * number + 2, 0], f'{OME} UUID="{uuid(number)}">{only}</OME>')
    file = tmp_path / NAMES[1]
    assert np.array_equal(read_stack(file), STACK[:, 0])
    assert set(set_files(file)) == {"a.companion.ome", NAMES[0], NAMES[2]}
    (tmp_path / "a.companion.ome").write_text('<!DOCTYPE x [<!ENTITY a "b">]><OME/>')
    with pytest.raises(DataError, match="document type"):
        read_stack(file)
    (tmp_path / "a.companion.ome").unlink()
    with pytest.raises(DataError, match=r"in a\.companion\.ome, which is missing"):
        read_stack(file)


@pytest.mark.parametrize(
    ("planes", "says"),
    [
        (reference(0, 1, 0, name="../a.tif"), "no file of its folder"),
        (reference(0, 1, 0, name="/etc/a.tif"), "no file of its folder"),
        (reference(0, 1, 0, name="x\\a.tif"), "no file of its folder"),
        (reference(0, 1, 0, name="C:a.tif"), "no file of its folder"),
        (reference(0, 1, 0, name=""), "no file of its folder"),
        (reference(0, 1, 0, name="a" * 252 + ".tif"), "no file of its folder"),
        (reference(0, 1, 0, name="passwd"), "not a TIFF"),
        (reference(0, 1, 9), "its plane 10, it holds 2"),
        (reference(9, 1, 0), "a plane that it does not declare"),
        (reference(0, 1, -1), "a plane that it does not declare"),
        (reference(0, 1, 0), "declare 6 planes and say where 1 of them are"),
    ],
)
def test_a_map_that_lies_is_refused(tmp_path: Path, planes: str, says: str) -> None:
    """Names lead nowhere else, and no plane is made up."""
    others = "".join(reference(z, 0, 0) for z in range(1, 6)) if 'IFD="9"' in planes else ""
    file, _ = write_set(tmp_path, pixels(planes + others), [STACK[:2, 0], STACK[2:4, 0]])
    with pytest.raises(DataError, match=says):
        read_stack(file)


@pytest.mark.parametrize("share", [0.7, 0.1])
def test_which_of_two_values_is_bright_depends_on_the_whole_set(tmp_path: Path, share: float) -> None:
    """tifffile tags every boolean array as white for 0, whatever it means: the rarer value of the set is bright."""
    random = np.random.default_rng(0).random((6, 20, 16))
    mask = random < np.array([share, share, 0.2, 0.2, 0.1, 0.1])[:, None, None]
    image = pixels("".join(reference(z, z // 2, z % 2) for z in range(6)))
    for number, name in enumerate(NAMES):
        text = f'{OME} UUID="{uuid(number)}">{image}</OME>'.encode()
        with tifffile.TiffWriter(tmp_path / name) as tiff:
            for page in (0, 1):
                text_of_page = None if page else text
                tiff.write(mask[2 * number + page], description=text_of_page, metadata=None, contiguous=False)
    assert np.array_equal(read_stack(tmp_path / NAMES[0]), mask)
    assert np.array_equal(read_stack(tmp_path), mask)


def test_a_file_of_the_set_that_stores_white_as_0_is_said(tmp_path: Path) -> None:
    """Its planes are inverted on reading, those of the others are not."""
    stack = np.random.default_rng(0).integers(0, 200, (6, 20, 16)).astype(np.uint8)
    image = pixels("".join(reference(z, z // 2, z % 2) for z in range(6)))
    for number, name in enumerate(NAMES):
        text = f'{OME} UUID="{uuid(number)}">{image}</OME>'.encode()
        values, photometric = (255 - stack, "miniswhite") if number == 1 else (stack, "minisblack")
        with tifffile.TiffWriter(tmp_path / name) as tiff:
            for page in (0, 1):
                how: Any = {"description": None if page else text, "metadata": None, "contiguous": False}
                tiff.write(values[2 * number + page], photometric=photometric, **how)
    assert np.array_equal(read_stack(tmp_path / NAMES[0]), stack)
    header = read_header(tmp_path / NAMES[0])
    assert header.is_inverted
    assert any("WhiteIsZero" in remark for remark in header.remarks)


def test_a_set_that_is_not_whole_is_refused_by_the_file(tmp_path: Path) -> None:
    """A missing file, a link, planes of another size, and more planes than anybody has."""
    first, second, third = by_z(tmp_path)
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(DataError, match=f"{second.name} is missing"):
        read_stack(first)
    second.symlink_to(third)
    with pytest.raises(DataError, match="is a link"):
        read_stack(first)
    second.unlink()
    tifffile.imwrite(second, np.zeros((2, 20, 17), np.uint16), photometric="minisblack")
    with pytest.raises(DataError, match="the planes of its files differ"):
        read_stack(first)
    second.write_bytes(kept)
    with pytest.raises(DataError, match="multi-file OME-TIFF"):  # other stages read single files
        stacks.read_stack(first)
    image = pixels(reference(0, 1, 0), depth=ome_set.MAX_PLANES + 1)
    huge, _ = write_set(tmp_path, image, [STACK[:2, 0], STACK[:2, 0]])
    with pytest.raises(DataError, match="declare 65,537 planes"):
        read_stack(huge)


def test_ingest_keeps_a_set_as_one_file(tmp_path: Path) -> None:
    """The files are fetched from the source, links among them by its rules."""
    source, raw = tmp_path / "source", tmp_path / "raw"
    for folder in (source / "images", raw):
        folder.mkdir(parents=True)
    by_z(source / "images")
    local = LocalFolder(folder=source, shown="source")
    arrived = fetch_stack(local, f"images/{NAMES[1]}", raw / "image", raw / ".scratch", None)
    assert arrived.is_converted
    assert [file.name for file in raw.iterdir()] == [arrived.file.name] == ["image.tif"]
    assert np.array_equal(stacks.read_stack(arrived.file), STACK[:, 0])
    with open_stack(arrived.file) as stack:
        assert spacing_of(stack.header).spacing_um == (5.0, 0.9, 1.1)
    arrived.file.unlink()
    (source / "images" / NAMES[2]).unlink()
    with pytest.raises(DataError, match=f"{NAMES[2]} is missing"):
        fetch_stack(local, f"images/{NAMES[1]}", raw / "image", raw / ".scratch", None)
    assert not (raw / ".scratch").exists()


def test_a_folder_of_the_planes_of_a_set_is_the_stack(tmp_path: Path) -> None:
    """As a microscope's program exports it: by its own map, not by numbers in names; a companion is no slice."""
    source = tmp_path / "source" / "slices"
    source.mkdir(parents=True)
    file_of = (2, 0, 1)  # by z
    image = pixels("".join(reference(z, file, 0) for z, file in enumerate(file_of)), depth=3)
    write_set(source, image, [STACK[number : number + 1, 0] for number in range(3)])
    expected = STACK[list(file_of), 0]
    (source / "a.companion.ome").write_text("<OME/>")
    assert np.array_equal(read_stack(source), expected)
    assert spacing_of(read_header(source)).spacing_um == (5.0, 0.9, 1.1)
    raw = tmp_path / "raw"
    raw.mkdir()
    local = LocalFolder(folder=tmp_path / "source", shown="source")
    arrived = fetch_stack(local, "slices", raw / "image", raw / ".scratch", None)
    assert np.array_equal(stacks.read_stack(arrived.file), expected)
    (source / NAMES[1]).unlink()
    with pytest.raises(DataError, match=f"{NAMES[1]} is missing"):
        read_stack(source)
