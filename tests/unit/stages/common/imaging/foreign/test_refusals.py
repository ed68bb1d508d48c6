"""What is not a stack, is elsewhere or claims too much is refused by name, in every format besides TIFF and NIfTI."""

import importlib
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from stages.common.errors import DataError
from stages.common.imaging.foreign import bombs, microscope
from stages.common.imaging.foreign.bombs import Chunk, refuse_bombs
from stages.common.imaging.foreign.slices import ordered
from stages.common.imaging.reading import open_stack
from stages.common.imaging.spacing import spacing_of
from stages.common.machine.memory import Room
from tests.support.memory import little_memory
from tests.support.stacks.any_form import read_header, read_stack
from tests.unit.stages.common.imaging.foreign.written import (
    STACK,
    save_hdf5,
    save_meta_image,
    save_nrrd,
    save_slices,
    save_zarr,
)
from tests.unit.stages.common.imaging.test_reading import assert_reads, refusal

Make = Callable[[Path], Path]


def _edited(store: Path, name: str, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """`store` with the JSON of one of its files changed."""
    file = store / name
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    return store


def _zarr_with(folder: Path, name: str, edit: Callable[[dict[str, Any]], Any]) -> Path:
    return _edited(save_zarr(folder / "a.zarr", [STACK]), name, edit)


def _zarr_empty(folder: Path) -> Path:
    zarr.open_group(folder / "a.zarr", mode="w")
    return folder / "a.zarr"


def _zarr_link(folder: Path) -> Path:
    store = save_zarr(folder / "a.zarr", [STACK])
    secret = folder / "secret"
    secret.write_bytes(b"secret")
    (store / "0" / "0.0.0").unlink()
    (store / "0" / "0.0.0").symlink_to(secret)
    return store


def _h5(folder: Path, make: Callable[[Any], Any], place: str = "") -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        make(file)
    return Path(f"{folder}/a.h5{place}")


def _external(file: Any) -> None:
    file["there"] = h5py.ExternalLink("/etc/other.h5", "/x")


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(6, 10, 9), dtype="u2")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(6, 10, 9))
    file.create_virtual_dataset("v", layout)


def _h5_external_storage(folder: Path) -> Path:
    return _h5(folder, lambda file: file.create_dataset("v", (6, 10, 9), "u1", external=[("raw.bin", 0, 540)]))


def _objects(file: Any) -> None:
    file.create_dataset("v", (2, 3, 4), dtype=h5py.string_dtype())


def _two(file: Any) -> None:
    file["raw"], file["group/other"] = STACK, STACK


REFUSED: dict[str, tuple[Make, str]] = {
    "zarr_pickle": (lambda at: _zarr_with(at, "0/.zarray", lambda it: it.update(filters=[{"id": "pickle"}])), "pickle"),
    "zarr_object": (lambda at: _zarr_with(at, "0/.zarray", lambda it: it.update(dtype="|O")), "its voxels are object"),
    "zarr_record": (lambda at: _zarr_with(at, "0/.zarray", lambda it: it.update(dtype=[["a", "u1"]])), "several parts"),
    "zarr_codec": (lambda at: _zarr_with(at, "0/.zarray", lambda it: it["compressor"].update(id="jpegxl")), "jpegxl"),
    "zarr_outside": (
        lambda at: _zarr_with(at, ".zattrs", lambda it: it["multiscales"][0]["datasets"][0].update(path="../b")),
        "outside it",
    ),
    "zarr_level_missing": (
        lambda at: _zarr_with(at, ".zattrs", lambda it: it["multiscales"][0]["datasets"][0].update(path="9")),
        "level '9' is missing",
    ),
    "zarr_link": (_zarr_link, "is a link to a place outside the folder"),
    "zarr_times": (lambda at: save_zarr(at / "a.zarr", [np.stack([STACK] * 3)], axes="tzyx"), "3 time points"),
    "zarr_channels": (
        lambda at: save_zarr(at / "a.zarr", [np.stack([STACK] * 2)], axes="czyx", labels=("DAPI", "CD31")),
        r"2 channels \(0: DAPI, 1: CD31\); choose one of them with ingest.channel",
    ),
    "zarr_empty": (_zarr_empty, "neither an OME"),
    "hdf5_object": (lambda at: _h5(at, _objects, ":/v"), "its voxels are object"),
    "hdf5_external": (lambda at: _h5(at, _external, ":/there"), "leads over a link, which is not followed"),
    "hdf5_virtual": (lambda at: _h5(at, _virtual, ":/v"), "its voxels are in other files"),
    "hdf5_storage": (_h5_external_storage, "its voxels are in other files"),
    "hdf5_two": (lambda at: _h5(at, _two), r"2 arrays of three axes \(/group/other, /raw\)"),
    "hdf5_place": (lambda at: _h5(at, _two, ":/raw2"), "no array at /raw2; in / there is group, raw"),
    "hdf5_group": (lambda at: _h5(at, _two, ":/group"), "/group is a group, not an array; it holds other"),
    "hdf5_axes": (lambda at: save_hdf5(at / "a.h5", np.stack([STACK] * 2)), "without names of its axes"),
    "nrrd_outside": (
        lambda at: _rewritten(save_nrrd(at / "a.nhdr", STACK), rb"data file: .*", b"data file: ../a.raw"),
        "outside its folder",
    ),
    "nrrd_claim": (
        lambda at: _rewritten(save_nrrd(at / "a.nrrd", STACK), rb"sizes: .*", b"sizes: 90000 90000 90000"),
        "its header claims 1,458,000,000,000,000 bytes",
    ),
    "nrrd_text": (lambda at: save_nrrd(at / "a.nrrd", STACK, encoding="ascii"), "encoded as 'ascii'"),
    "mha_claim": (
        lambda at: save_meta_image(at / "a.mha", STACK, DimSize="90000 90000 90000"),
        "its header claims 1,458,000,000,000,000 bytes",
    ),
    "mha_kind": (lambda at: save_meta_image(at / "a.mha", STACK, ElementType="MET_STRING"), "MET_STRING"),
    "mha_list": (lambda at: save_meta_image(at / "a.mhd", STACK, data="LIST"), "several files"),
    "mha_endless": (lambda at: _filled(at / "a.mha", b"Comment = x\n" * 100_000), "no ElementDataFile in its first"),
    "slices_gap": (lambda at: _without(save_slices(at / "s", STACK), "z003.tif"), "missing between number 2 and 4"),
    "slices_twice": (lambda at: _copied(save_slices(at / "s", STACK), "z003.tif", "z03.tif"), "the same number"),
    "slices_strange": (lambda at: _copied(save_slices(at / "s", STACK), "z003.tif", "a.czi"), "holds 'a.czi', which"),
    "slices_names": (
        lambda at: _copied(save_slices(at / "s", STACK), "z003.tif", "mip.tif"),
        "different kinds of names",
    ),
    "slices_times": (
        lambda at: _copied(save_slices(at / "s", STACK, "t0_z{}.tif"), "t0_z3.tif", "t1_z3.tif"),
        "differ in 2 numbers",
    ),
    "slices_stacks": (
        lambda at: _copied(save_slices(at / "s", STACK[:, None].repeat(2, 1)), "z003.tif", "z006.tif"),
        "slice z000.tif: it holds 2 slices itself",
    ),
    "unknown": (lambda at: _filled(at / "a.png", b"x"), r"the format is not supported"),
}


def _rewritten(file: Path, pattern: bytes, by: bytes) -> Path:
    file.write_bytes(re.sub(pattern, by, file.read_bytes(), count=1))
    return file


def _filled(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def _without(folder: Path, name: str) -> Path:
    (folder / name).unlink()
    return folder


def _copied(folder: Path, name: str, copy: str) -> Path:
    (folder / copy).write_bytes((folder / name).read_bytes())
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_stack_is_refused_by_its_reason(tmp_path: Path, name: str) -> None:
    """Before memory is given, and without opening anything outside."""
    make, says = REFUSED[name]
    path = make(tmp_path)
    with little_memory():
        error = refusal(path)
    assert re.search(says, error.what), error.what


@pytest.mark.parametrize(
    ("names", "says", "remedy"),
    [
        (("z1", "z2", "z4"), "slices are missing", "add the missing slices"),
        (("z1", "z01"), "the same number", "take one of them out"),
        (("z1", "q2"), "different kinds of names", "name those of one stack by a pattern"),
        (("z1_c0", "z2_c1"), "differ in 2 numbers", "name those of one stack by a pattern"),
    ],
)
def test_slices_without_an_order_have_a_remedy_of_their_own(names: tuple[str, ...], says: str, remedy: str) -> None:
    """To save them as a grey stack would not help: they are grey."""
    with pytest.raises(DataError, match=says) as refused:
        ordered([Path("s", f"{name}.tif") for name in names], Path("s"))
    assert remedy in refused.value.remedy


def test_what_lies_beside_slices_is_passed_over(tmp_path: Path) -> None:
    """Thumbnails' data, notes and hidden files; steps of more than one are said."""
    folder = save_slices(tmp_path / "s", STACK)
    for name in ("Thumbs.db", ".DS_Store", "notes.txt", "._z000.tif", "stage.xml"):
        (folder / name).write_bytes(b"x")
    assert_reads(folder, STACK)
    (tmp_path / "t").mkdir()
    for z, plane in enumerate(STACK):
        tifffile.imwrite(tmp_path / "t" / f"z{5 * z:03d}.tif", plane)
    assert any("steps of 5" in remark for remark in read_header(tmp_path / "t").remarks)


def test_the_finest_level_is_read_wherever_it_is_listed(tmp_path: Path) -> None:
    """By its spacing, not by its place; said as a remark."""
    store = save_zarr(tmp_path / "a.zarr", [STACK, STACK[:, ::2, ::2]])
    _edited(store, ".zattrs", lambda it: it["multiscales"][0]["datasets"].reverse())
    assert_reads(store, STACK)
    assert any("pyramid" in remark for remark in read_header(store).remarks)


@pytest.mark.parametrize("axes", ["zyx", "czyx"])
@pytest.mark.parametrize(
    ("level_um", "chosen"),
    [
        (None, 0),
        ((5.0, 0.9, 1.1), 0),
        ((1.0, 1.0, 1.0), 0),
        ((5.0, 2.0, 2.0), 1),
        ((5.0, 1.7, 6.0), 2),
        ((90.0, 90.0, 90.0), 2),
    ],
)
def test_the_level_with_the_nearest_spacing_is_read(tmp_path: Path, level_um: Any, chosen: int, axes: str) -> None:
    """On the axis on which it is worst, as a ratio; whatever the unit and the order of the levels are."""
    levels = [STACK, STACK[:, ::2, ::2], STACK[:, ::4, ::4]]
    stored = [level.reshape((1,) * (len(axes) - 3) + level.shape) for level in levels]
    store = save_zarr(tmp_path / "a.zarr", stored, axes=axes, unit="nanometer", spacing=[5000, 900, 1100])
    _edited(store, ".zattrs", lambda it: it["multiscales"][0]["datasets"].reverse())
    with open_stack(store, None, level_um) as stack:
        assert np.array_equal(stack.read(), levels[chosen])
        assert spacing_of(stack.header).spacing_um == pytest.approx((5.0, 0.9 * 2**chosen, 1.1 * 2**chosen))
        assert any("full resolution" in remark for remark in stack.header.remarks) == (chosen == 0)


def test_levels_without_a_unit_cannot_be_chosen_by_spacing(tmp_path: Path) -> None:
    """A store of one level is read all the same."""
    store = save_zarr(tmp_path / "a.zarr", [STACK, STACK[:, ::2, ::2]], unit=None)
    with pytest.raises(DataError, match=r"cannot be compared with ingest\.level_um: its scale .* has no unit"):
        read_stack(store, None, (5.0, 2.0, 2.0))
    assert np.array_equal(read_stack(save_zarr(tmp_path / "b.zarr", [STACK], unit=None), None, (5.0, 2.0, 2.0)), STACK)


@pytest.mark.parametrize("channel", [1, "CD31"])
def test_a_channel_of_a_store_is_read_alone(tmp_path: Path, channel: int | str) -> None:
    """By number or label."""
    both = np.stack([STACK, STACK[::-1]])
    assert_reads(save_zarr(tmp_path / "a.zarr", [both], axes="czyx", labels=("DAPI", "CD31")), STACK[::-1], channel)


@pytest.mark.parametrize("kind", ["NRRD", "MetaImage"])
def test_numbers_without_a_unit_are_mm_by_habit(tmp_path: Path, kind: str) -> None:
    """As in NIfTI: µm where mm would be absurd, with a warning; 1 × 1 × 1 is not a spacing."""
    if kind == "NRRD":
        file = save_nrrd(tmp_path / "a.nrrd", STACK, **{"space units": None})
        bare = save_nrrd(tmp_path / "b.nrrd", STACK, **{"space units": None, "space directions": np.eye(3)})
    else:
        file = save_meta_image(tmp_path / "a.mha", STACK)
        bare = save_meta_image(tmp_path / "b.mha", STACK, ElementSpacing="1 1 1")
    told = spacing_of(read_header(file))
    assert (told.spacing_um, len(told.warnings)) == (pytest.approx((5.0, 0.9, 1.1)), 1)
    assert spacing_of(read_header(bare)).spacing_um is None


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("deflate", zlib.compress(bytes(100_000))),
        ("blosc", bytes(4) + (1 << 30).to_bytes(4, "little") + bytes(8)),
        ("lz4", (1 << 30).to_bytes(4, "little") + bytes(8)),
        ("zstd", b"\x28\xb5\x2f\xfd\xa0" + (1 << 30).to_bytes(4, "little") + bytes(8)),
        ("zstd", b"\x28\xb5\x2f\xfd\x00\x58" + bytes(8)),
    ],
    ids=["deflate", "blosc", "lz4", "zstd", "zstd_unknown"],
)
def test_a_chunk_that_unpacks_to_more_is_refused(monkeypatch: pytest.MonkeyPatch, codec: str, data: bytes) -> None:
    """Where it could take much of the memory; one that cannot is not even read."""
    chunk = Chunk(size=len(data), read=lambda: data)
    refuse_bombs([chunk], 50_000, codec, Path("a"))
    monkeypatch.setattr(bombs, "memory_room", lambda: Room(bytes=4, where=""))
    with pytest.raises(Exception, match="unpacks to more than the 1,000 bytes"):
        refuse_bombs([chunk], 1_000, codec, Path("a"))


def test_a_chunk_longer_than_its_voxels_is_refused() -> None:
    """No codec makes it so."""
    with pytest.raises(Exception, match=r"a chunk of 100 bytes takes 9,000"):
        refuse_bombs([Chunk(size=9_000, read=bytes)], 100, "", Path("a"))


class _UnsupportedError(Exception):
    """As bioio has it: of no other kind."""


class _Reader:
    """What bioio's readers offer, over an array in memory."""

    is_whole = True

    scenes, channel_names, dtype = ("only",), ["DAPI", "CD31"], np.dtype(np.uint16)

    def __init__(self, path: Path) -> None:
        if not self.is_whole:
            raise _UnsupportedError(f"{path} is not supported")
        self.dims = type("Dims", (), {"order": "TCZYX", "shape": (1, 2, *STACK.shape)})
        self.physical_pixel_sizes = type("Sizes", (), {"Z": 5.0, "Y": 0.9, "X": 1.1})

    def get_image_dask_data(self, order: str, **at: int) -> Any:
        assert (order, at["T"]) == ("YX", 0)
        plane = np.stack([STACK, STACK[::-1]])[at["C"], at["Z"]]
        return type("Lazy", (), {"compute": lambda self: plane})()


def test_a_microscope_s_file_is_read_through_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed; else the error names the package."""
    file = tmp_path / "a.czi"
    file.write_bytes(b"x")
    monkeypatch.setitem(microscope.READERS, ".czi", "bioio_gone")
    assert "needs the reader bioio-gone, which is not installed" in refusal(file).what
    czi = type("CziFile", (), {"__init__": lambda self, path: None, "get_dims_shape": lambda self: [{"S": (0, 1)}]})
    parts = {"Reader": _Reader, "UnsupportedFileFormatError": _UnsupportedError, "CziFile": czi}
    installed = type("Module", (), parts)
    monkeypatch.setattr(importlib, "import_module", lambda _: installed)
    assert_reads(file, STACK[::-1], "CD31")
    assert spacing_of(read_header(file, 0)).spacing_um == (5.0, 0.9, 1.1)
    assert "2 channels" in refusal(file).what
    monkeypatch.setattr(_Reader, "is_whole", False)
    assert refusal(file).what == "the file is damaged or cut: a.czi is not supported"


def test_every_other_byte_may_be_damaged(tmp_path: Path) -> None:
    """A header with changed bytes gives an array or a DataError, never another exception."""
    rng = np.random.default_rng(0)
    for file in (
        save_nrrd(tmp_path / "a.nrrd", STACK),
        save_meta_image(tmp_path / "a.mha", STACK),
        save_hdf5(tmp_path / "a.h5", STACK),
    ):
        whole = file.read_bytes()
        for _ in range(40):
            content = bytearray(whole)
            for place in rng.integers(0, min(len(content), 700), 3):
                content[place] = rng.integers(256)
            file.write_bytes(content)
            try:
                assert read_stack(file).ndim == 3
            except DataError as error:
                assert error.remedy  # noqa: PT017 - either outcome is right here
