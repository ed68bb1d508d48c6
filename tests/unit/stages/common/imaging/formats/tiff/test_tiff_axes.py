"""Which axes of a TIFF are those of the stack: a single slice, colours, channels, time points."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from stages.common.imaging.stacks import read_stack
from tests.support.stacks import any_form
from tests.support.stacks.plain import read_header, read_shape, read_slices
from tests.support.stacks.small import STACK, save_tiff
from tests.unit.stages.common.imaging.formats.tiff.readers import MEASURED, OME, assert_reads, refusal


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}, {"metadata": None}])
@pytest.mark.parametrize("stack", [STACK[0], STACK[:1]], ids=["yx", "zyx"])
def test_one_page_is_a_stack_of_one_slice(tmp_path: Path, stack: NDArray[Any], how: dict[str, Any]) -> None:
    """As a NIfTI of one slice is; the header says so."""
    file = save_tiff(tmp_path / "a.tif", stack, **how)
    assert_reads(file, STACK[:1])
    assert read_header(file).remarks == ("the file holds a single slice",)
    assert read_header(file).axes[1:] == "YX"


@pytest.mark.parametrize(
    "how",
    [{}, {"metadata": None}, {"compression": "zlib"}, {"imagej": True, "metadata": {"axes": "ZYX"}}, OME],
    ids=["shaped", "plain", "zlib", "imagej", "ome"],
)
@pytest.mark.parametrize("width", [3, 4])
def test_a_grey_stack_three_voxels_wide_is_not_in_colour(tmp_path: Path, how: dict[str, Any], width: int) -> None:
    """Nor one of four."""
    stack = np.ascontiguousarray(STACK[..., :width])
    assert_reads(save_tiff(tmp_path / "a.tif", stack, photometric="minisblack", **how), stack)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_samples_within_a_pixel_are_colours(tmp_path: Path, photometric: str) -> None:
    """A picture, and a stack of pictures."""
    for shape in ((40, 33, 3), (5, 40, 33, 3)):
        file = save_tiff(tmp_path / "a.tif", np.zeros(shape, np.uint8), photometric=photometric, planarconfig="contig")
        assert "colour image" in refusal(file).what


@pytest.mark.parametrize(
    "how",
    [
        {"imagej": True},
        {"imagej": True, "compression": "zlib"},
        {"ome": True},
        {"ome": True, "tile": (16, 16), "compression": "zlib"},
        {},
    ],
    ids=["imagej", "imagej_zlib", "ome", "ome_tiled", "shaped"],
)
@pytest.mark.parametrize("axes", ["ZCYX", "TZCYX", "CZYX"])
def test_one_channel_of_several_is_read_alone(tmp_path: Path, how: dict[str, Any], axes: str) -> None:
    """Whatever the order of the axes; without a choice the channels are counted."""
    both = np.stack([STACK, STACK[::-1]], axis=axes.removeprefix("T").index("C"))
    if how.get("imagej") and axes == "CZYX":
        axes, both = "ZCYX", both.swapaxes(0, 1)
    whole = both[None] if axes[0] == "T" else both
    file = save_tiff(tmp_path / "a.tif", whole, photometric="minisblack", metadata={"axes": axes}, **how)
    for channel, expected in ((0, STACK), (1, STACK[::-1])):
        np.testing.assert_array_equal(read_stack(file, channel), expected)
        np.testing.assert_array_equal(np.stack(list(read_slices(file, channel))), expected)
        assert read_shape(file, channel) == expected.shape
    assert "it holds 2 channels (0, 1); choose one of them with ingest.channel" in refusal(file).what


@pytest.mark.parametrize("axes", ["TYX", "TZYX"])
def test_several_time_points_are_refused_by_name(tmp_path: Path, axes: str) -> None:
    """Whether or not there are slices, too."""
    stack = STACK if axes == "TYX" else np.stack([STACK] * 6)
    file = save_tiff(tmp_path / "a.tif", stack, photometric="minisblack", imagej=True, metadata={"axes": axes})
    assert "it holds 6 time points" in refusal(file).what
    assert "Image > Properties" in refusal(file).what  # where slices are called so


def test_levels_in_sub_directories_are_said(tmp_path: Path) -> None:
    """The full resolution is read, with a remark."""
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(STACK, photometric="minisblack", subifds=1, metadata=MEASURED)
        writer.write(STACK[:, ::2, ::2], photometric="minisblack", subfiletype=1)
    assert_reads(tmp_path / "a.ome.tif", STACK)
    assert any("pyramid" in remark for remark in read_header(tmp_path / "a.ome.tif").remarks)


@pytest.mark.parametrize("how", [{"photometric": "minisblack"}, {"photometric": "rgb"}])
def test_an_orientation_is_not_followed_and_said(tmp_path: Path, how: dict[str, Any]) -> None:
    """ITK flips rows that begin at the bottom, tifffile and ImageJ do not."""
    stack = np.stack([STACK] * 3, -1) if how["photometric"] == "rgb" else STACK
    for value in (1, 4, 9):
        file = save_tiff(tmp_path / "a.tif", stack, extratags=[(274, 3, 1, value, False)], **how)
        np.testing.assert_array_equal(any_form.read_stack(file), STACK)
        header = any_form.read_header(file)
        assert header.orientation == (4 if value == 4 else 1)
        assert any("Orientation is 4" in remark for remark in header.remarks) == (value == 4)
