"""Grey stacks that a program saved in colour."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from stages.common.errors import DataError
from stages.common.imaging import stacks
from stages.common.imaging.spacing import spacing_of
from stages.ingest.arrival import fetch_stack
from stages.ingest.sources.local import LocalFolder
from tests.support.stacks.any_form import read_header, read_shape, read_slices, read_stack

GREY = np.random.default_rng(5).integers(0, 255, (5, 20, 16)).astype(np.uint8)
THREE = np.stack([GREY] * 3, -1)
FOUR = np.concatenate([THREE, np.full((*GREY.shape, 1), 255, np.uint8)], -1)


@pytest.mark.parametrize(
    ("array", "how"),
    [
        (THREE, {}),
        (THREE.astype(np.uint16), {"byteorder": ">", "compression": "zlib"}),
        (FOUR, {"extrasamples": ["unassalpha"]}),
        (THREE[None], {}),
        (np.moveaxis(THREE, -1, 1), {"planarconfig": "separate"}),
        (np.moveaxis(FOUR, -1, 1), {"planarconfig": "separate", "extrasamples": ["unassalpha"]}),
    ],
)
def test_equal_colours_are_grey(tmp_path: Path, array: np.ndarray, how: dict[str, object]) -> None:
    """Whole and slice by slice, with a warning; transparency does not count."""
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, array, photometric="rgb", **how)  # type: ignore[arg-type]
    assert np.array_equal(read_stack(file), GREY)
    assert np.array_equal(np.stack(list(read_slices(file))), GREY)
    assert read_shape(file) == GREY.shape
    assert "it is stored in colour" in " ".join(read_header(file).remarks)


@pytest.mark.parametrize("planes", [np.moveaxis(THREE[0], -1, 0), THREE[0]], ids=["planar", "interleaved"])
def test_one_page_of_another_program_has_colours(tmp_path: Path, planes: np.ndarray) -> None:
    """In planes or side by side, they are one slice if they are alike, and refused if not."""
    planar = "separate" if planes.shape[0] == 3 else "contig"
    unlike = planes.copy()
    unlike.flat[0] ^= 1
    for name, array in (("alike", planes), ("unlike", unlike)):
        how = {"photometric": "rgb", "planarconfig": planar, "software": "Paint 1.0", "metadata": None}
        tifffile.imwrite(tmp_path / f"{name}.tif", array, **how)  # type: ignore[arg-type]
    assert np.array_equal(read_stack(tmp_path / "alike.tif"), GREY[:1])
    with pytest.raises(DataError, match="colour image"):
        read_stack(tmp_path / "unlike.tif")


def test_the_spacing_is_that_of_the_file(tmp_path: Path) -> None:
    """ImageJ's, here."""
    file = tmp_path / "a.tif"
    meta = {"axes": "ZYXS", "spacing": 5, "unit": "um"}
    tifffile.imwrite(file, THREE, imagej=True, metadata=meta, resolution=(1 / 1.1, 1 / 0.9))
    assert spacing_of(read_header(file)).spacing_um == (5.0, 0.9, 1.1)


@pytest.mark.parametrize("array", [THREE, FOUR], ids=["rgb", "rgba"])
def test_the_spacing_is_that_of_the_ome_metadata(tmp_path: Path, array: np.ndarray) -> None:
    """Three or four samples are one plane of an Image."""
    file = tmp_path / "a.ome.tif"
    meta = {"axes": "ZYXS", "PhysicalSizeX": 1.1, "PhysicalSizeY": 0.9, "PhysicalSizeZ": 5}
    extra = {"extrasamples": ["unassalpha"]} if array.shape[-1] == 4 else {}
    tifffile.imwrite(file, array, photometric="rgb", metadata=meta, **extra)  # type: ignore[arg-type]
    told = spacing_of(read_header(file))
    assert (told.spacing_um, told.source) == ((5.0, 0.9, 1.1), "OME PhysicalSize")


def test_real_colours_are_refused(tmp_path: Path) -> None:
    """In one voxel of the last slice, also in planes of their own; with further axes."""
    other = THREE.copy()
    other[-1, -1, -1, 2] ^= 1
    arrays = [(other, {}), (np.moveaxis(other, -1, 1), {"planarconfig": "separate"}), (np.stack([THREE, THREE]), {})]
    for number, (array, how) in enumerate(arrays):
        file = tmp_path / f"{number}.tif"
        tifffile.imwrite(file, array, photometric="rgb", **how)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="colour image") as refused:
            read_stack(file)
        assert "minisblack" in refused.value.remedy


def test_ingest_keeps_one_colour(tmp_path: Path) -> None:
    """Other stages read grey files alone."""
    tifffile.imwrite(tmp_path / "a.tif", THREE, photometric="rgb")
    raw = tmp_path / "raw"
    raw.mkdir()
    arrived = fetch_stack(LocalFolder(folder=tmp_path, shown="s"), "a.tif", raw / "label", raw / ".scratch", None)
    assert arrived.is_converted
    assert [file.name for file in raw.iterdir()] == ["label.tif"]
    assert np.array_equal(stacks.read_stack(arrived.file), GREY)


def test_a_grey_stack_of_width_3_is_refused_with_what_helps(tmp_path: Path) -> None:
    """As tifffile saves it by default; no channel leads on, nothing is claimed unseen, and the remedy's line works."""
    old, new, stack = tmp_path / "old.tif", tmp_path / "new.tif", np.arange(240, dtype=np.uint8).reshape(8, 10, 3)
    tifffile.imwrite(old, stack)
    assert "alike" not in " ".join(read_header(old).remarks)
    for channel in (None, 0, 1, "red"):
        with pytest.raises(DataError, match="colour image") as refused:
            read_stack(old, channel)
        line = "tifffile.imwrite(new, tifffile.imread(old), photometric='minisblack')"
        assert line in refused.value.remedy
    exec(line, {"tifffile": tifffile, "old": old, "new": new})
    assert np.array_equal(read_stack(new), stack)
