"""Levels of a pyramid and small pictures next to the stack of a TIFF."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from tests.support.stacks.plain import read_header
from tests.support.stacks.small import STACK
from tests.unit.stages.common.imaging.formats.tiff.readers import MEASURED, assert_reads, refusal

LEVELS = [STACK, STACK[:, ::2, ::2], STACK[:, ::4, ::4]]


def _write(file: Path, stacks: list[NDArray[Any]], **how: Any) -> Path:
    with tifffile.TiffWriter(file, ome=file.name.endswith(".ome.tif")) as writer:
        for number, stack in enumerate(stacks):
            axes = "ZYX"[3 - stack.ndim :]
            sizes = {
                f"PhysicalSize{axis}": 10.0 + number if stack is not STACK else MEASURED[f"PhysicalSize{axis}"]
                for axis in axes
            }
            writer.write(stack, photometric="minisblack", metadata={"axes": axes, **sizes}, **how)
    return file


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_levels_of_a_pyramid_do_not_count(tmp_path: Path, name: str, order: tuple[int, ...]) -> None:
    """Half and a quarter of the resolution in plane, in whatever order: the largest is the stack."""
    assert_reads(_write(tmp_path / name, [LEVELS[level] for level in order]), STACK)


@pytest.mark.parametrize("how", [{}, {"metadata": {"axes": "ZYX", "spacing": 5.0, "unit": "um"}}, {"metadata": None}])
@pytest.mark.parametrize("inside", [True, False])
def test_levels_without_names_of_their_axes_do_not_count(tmp_path: Path, how: dict[str, Any], inside: bool) -> None:
    """As SubIFDs or as pages of their own: writers describe the full resolution alone."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK, photometric="minisblack", subifds=2 if inside else None, **how)
        for level in LEVELS[1:]:
            writer.write(level, photometric="minisblack", subfiletype=1)
    assert_reads(tmp_path / "a.tif", STACK)
    assert any("not the 2 coarser level(s)" in remark for remark in read_header(tmp_path / "a.tif").remarks)


@pytest.mark.parametrize(("shape", "axes"), [((-1, 40, 33, 1), "ZYXS"), ((1, -1, 40, 33, 1), "TZYXS")])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_single_sample_per_voxel_is_no_colour(
    tmp_path: Path, shape: tuple[int, ...], axes: str, compression: str | None
) -> None:
    """A last axis of 1, as deep-learning tools keep it."""
    file = tmp_path / "a.tif"
    stack = STACK.reshape(shape)
    tifffile.imwrite(file, stack, photometric="minisblack", metadata={"axes": axes}, compression=compression)
    assert_reads(file, STACK)


def test_a_level_may_be_coarser_along_z(tmp_path: Path) -> None:
    """All three axes halved."""
    assert_reads(_write(tmp_path / "a.ome.tif", [STACK, STACK[::2, ::2, ::2]]), STACK)


@pytest.mark.parametrize("other", [STACK + 1, STACK[:5], STACK[:, :30, :30], STACK[:4, ::2, ::2], STACK[:, ::2]])
def test_two_unlike_stacks_are_refused(tmp_path: Path, other: NDArray[Any]) -> None:
    """Of the same size, or of one that no whole fraction gives."""
    for stacks in ([STACK, other], [other, STACK]):
        assert "it holds 2 stacks" in refusal(_write(tmp_path / "a.ome.tif", stacks)).what


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_an_overview_in_colour_does_not_count(tmp_path: Path, first: bool, planar: bool) -> None:
    """Before the stack or after it, its colours pixel by pixel or in planes; the spacing is the stack's."""
    axes, shape = ("SYX", (3, 20, 30)) if planar else ("YXS", (20, 30, 3))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for is_stack in (not first, first):
            if is_stack:
                writer.write(STACK, photometric="minisblack", metadata=MEASURED)
            else:
                sizes = {f"PhysicalSize{axis}": 40.0 for axis in "ZYX"}
                planarconfig = "separate" if planar else "contig"
                overview = np.zeros(shape, np.uint8)
                writer.write(overview, photometric="rgb", planarconfig=planarconfig, metadata={"axes": axes, **sizes})
    assert_reads(tmp_path / "a.ome.tif", STACK)
    assert read_header(tmp_path / "a.ome.tif").spacing.declared_um == (5.0, 0.9, 1.1)


@pytest.mark.parametrize(
    "pictures",
    [[np.zeros((8, 8), np.uint8)], [np.zeros((8, 8), np.uint8), np.zeros((4, 4), np.uint8)]],
    ids=["macro", "macro_and_label"],
)
@pytest.mark.parametrize("first", [False, True])
def test_a_small_picture_does_not_count(tmp_path: Path, first: bool, pictures: list[NDArray[Any]]) -> None:
    """Neither its voxels nor its spacing."""
    stacks = [*pictures, STACK] if first else [STACK, *pictures]
    file = _write(tmp_path / "a.ome.tif", stacks)
    assert_reads(file, STACK)
    assert read_header(file).spacing.declared_um == (5.0, 0.9, 1.1)


def test_two_pictures_are_no_stack(tmp_path: Path) -> None:
    """Of different sizes: neither is a slice of the other."""
    _write(tmp_path / "a.tif", [STACK[0], STACK[0, :30, :20]])
    assert "it holds 2 stacks" in refusal(tmp_path / "a.tif").what
