"""Files of microscopes, if the extra `microscopes` is there: CZI by pylibCZIrw, LIF in the form of Leica's program."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.reading import open_stack
from stages.common.imaging.spacing import spacing_of
from tests.support.stacks.any_form import read_stack

STACK = np.random.default_rng(3).integers(0, 4000, (5, 20, 24)).astype(np.uint16)
TWO = np.stack([STACK, STACK[::-1]])[None]
SPACING_UM = (5.0, 0.9, 1.1)
NAMES = ("Green", "Red")
_UNUSED: dict[str, object] = dict.fromkeys(("ChannelTag", "Min", "Max", "IsLUTInverted", "BitInc"), 0)
_UNUSED |= dict.fromkeys(("NameOfMeasuredQuantity", "Unit"), "")
Save = Callable[[Path, NDArray[Any]], Path]


def save_czi(folder: Path, stacks: NDArray[Any]) -> Path:
    """`stacks` (t, c, z, y, x)."""
    czi: Any = pytest.importorskip("pylibCZIrw.czi")
    pytest.importorskip("bioio_czi")
    file = folder / "a.czi"
    with czi.create_czi(str(file), exist_ok=True) as document:
        for t, c, z in np.ndindex(stacks.shape[:3]):
            document.write(data=stacks[t, c, z][..., None].copy(), plane={"T": t, "C": c, "Z": z})
        scales = dict(zip(("scale_z", "scale_y", "scale_x"), (size * 1e-6 for size in SPACING_UM), strict=True))
        document.write_metadata("a", channel_names=dict(enumerate(NAMES[: stacks.shape[1]])), **scales)
    return file


def _element(tag: str, inner: str = "", **attributes: object) -> str:
    said = "".join(f" {name}={quoteattr(str(value))}" for name, value in attributes.items())
    return f"<{tag}{said}>{inner}</{tag}>"


def save_lif(folder: Path, stacks: NDArray[Any]) -> Path:
    """`stacks` (t, c, z, y, x): a header in XML, and a block of memory."""
    pytest.importorskip("bioio_lif")
    steps = dict(zip("tczyx", stacks.strides, strict=True))
    sizes = dict(zip("tczyx", stacks.shape, strict=True))
    lengths = {axis: (sizes[axis] - 1) * size * 1e-6 for axis, size in zip("zyx", SPACING_UM, strict=True)}
    channels = (
        _element(
            "ChannelDescription",
            DataType=0,
            Resolution=16,
            LUTName=name,
            BytesInc=number * steps["c"],
            **_UNUSED,
        )
        for number, name in enumerate(NAMES[: sizes["c"]])
    )
    dimensions = (
        _element(
            "DimensionDescription",
            DimID=kind,
            NumberOfElements=sizes[axis],
            Origin=0,
            Length=lengths.get(axis, 1),
            Unit="m" if axis in lengths else "s",
            BitInc=0,
            BytesInc=steps[axis],
        )
        for kind, axis in ((1, "x"), (2, "y"), (3, "z"), (4, "t"))
        if axis != "t" or sizes["t"] > 1
    )
    described = _element("Channels", "".join(channels)) + _element("Dimensions", "".join(dimensions))
    image = _element("Data", _element("Image", _element("ImageDescription", described)))
    memory = _element("Memory", Size=stacks.nbytes, MemoryBlockID="MemBlock_1")
    series = _element("Element", image + memory + "<Children/>", Name="Series001", UniqueID="1")
    top = '<Data><Experiment Path="a"/></Data><Memory Size="0" MemoryBlockID="MemBlock_0"/>'
    text = _element("Element", top + _element("Children", series), Name="a", UniqueID="0")
    text = _element("LMSDataContainerHeader", text, Version=2)
    name = "MemBlock_1".encode("utf-16-le")
    head = struct.pack("<IIBI", 0x70, 5 + 2 * len(text), 0x2A, len(text)) + text.encode("utf-16-le")
    block = struct.pack("<IIBQBI", 0x70, 14 + len(name), 0x2A, stacks.nbytes, 0x2A, len(name) // 2) + name
    (folder / "a.lif").write_bytes(head + block + stacks.tobytes())
    return folder / "a.lif"


@pytest.mark.parametrize("save", [save_czi, save_lif])
def test_voxels_and_their_size_are_read(tmp_path: Path, save: Save) -> None:
    """Of a stack with one channel."""
    with open_stack(save(tmp_path, STACK[None, None])) as stack:
        assert np.array_equal(stack.read(), STACK)
        assert spacing_of(stack.header).spacing_um == pytest.approx(SPACING_UM)


@pytest.mark.parametrize("save", [save_czi, save_lif])
def test_a_channel_is_chosen_by_its_name(tmp_path: Path, save: Save) -> None:
    """None is taken without being asked for."""
    file = save(tmp_path, TWO)
    assert np.array_equal(read_stack(file, "Red"), STACK[::-1])
    with pytest.raises(DataError, match=r"it holds 2 channels \(0: Green, 1: Red\)"):
        read_stack(file)


@pytest.mark.parametrize("save", [save_czi, save_lif])
def test_several_time_points_are_refused(tmp_path: Path, save: Save) -> None:
    """By name."""
    with pytest.raises(DataError, match="it holds 2 time points"):
        read_stack(save(tmp_path, TWO.transpose(1, 0, 2, 3, 4).copy()))


def test_scenes_that_the_metadata_do_not_name_are_refused(tmp_path: Path) -> None:
    """bioio gives the first of them."""
    czi: Any = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(tmp_path / "a.czi")) as document:
        for scene, z in np.ndindex(2, 5):
            where = {"scene": scene, "location": (100 * scene, 0)}
            document.write(data=STACK[z][..., None].copy(), plane={"T": 0, "C": 0, "Z": z}, **where)
    with pytest.raises(DataError, match=r"it holds 2 scenes \(0, 1\)"):
        read_stack(tmp_path / "a.czi")


@pytest.mark.parametrize("save", [save_czi, save_lif])
def test_what_is_no_such_file_is_the_file_s_fault(tmp_path: Path, save: Save) -> None:
    """The reader's own error, which is of no usual kind, would end a run over many stacks."""
    file = save(tmp_path, STACK[None, None])
    for content in (b"text" * 200, file.read_bytes()[:300]):
        file.write_bytes(content)
        with pytest.raises(DataError, match="damaged or cut"):
            read_stack(file)
