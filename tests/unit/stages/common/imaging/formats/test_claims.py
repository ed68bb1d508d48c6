"""Small files that claim much: refused before memory is given, with what they claim and what they hold."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.formats import claims
from stages.common.imaging.formats.tiff import directories
from stages.common.imaging.stacks import read_stack
from stages.common.machine.memory import Room
from tests.support.stacks.plain import read_header, read_shape, read_slices
from tests.support.stacks.small import STACK, save_nifti, save_tiff
from tests.unit.stages.common.imaging.formats.raw_files import (
    ASCII,
    BITS,
    DESCRIPTION,
    LONG,
    SHORT,
    STRIP_BYTES,
    STRIP_OFFSETS,
    SUB_IFDS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    Tag,
    nifti_1,
    nifti_2,
    packed,
    page,
    tiff,
)

READERS: Sequence[Callable[[Path], object]] = (read_stack, read_header, lambda path: list(read_slices(path)))
MOST_BYTES = 24 << 20  # of memory, where a file claims gigabytes
NONE, LZW, DEFLATE, PACKBITS, LZMA, ZSTD, JPEG_2000 = 1, 5, 8, 32773, 34925, 50000, 34712
ZEROS = zlib.compress(bytes(1 << 20))  # a kilobyte


@pytest.fixture
def little_taken() -> Iterator[None]:
    """A test that is failed by the peak of what Python and NumPy were given."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES


def refusal(file: Path, readers: Sequence[Callable[[Path], object]] = READERS) -> DataError:
    """The error that every reader raises on `file`."""
    errors = []
    for read in readers:
        with pytest.raises(DataError) as refused:
            read(file)
        errors.append(refused.value)
    assert {error.what for error in errors} == {errors[0].what}
    assert (errors[0].file, bool(errors[0].remedy)) == (file, True)
    return errors[0]


def tiled(side: int, tile: int) -> bytes:
    tags = page(side, DEFLATE, 8, len(ZEROS))
    del tags[STRIP_OFFSETS], tags[STRIP_BYTES]
    tags |= {TILE_WIDTH: (LONG, 1, tile), TILE_HEIGHT: (LONG, 1, tile)}
    tags |= {TILE_OFFSETS: (LONG, 1, 8), TILE_BYTES: (LONG, 1, len(ZEROS))}
    return tiff([tags], ZEROS)


def with_tag(code: int, tag: Tag, data: bytes = ZEROS) -> bytes:
    return tiff([page(100, DEFLATE, 8, len(data)) | {code: tag}], data)


def described(text: bytes) -> bytes:
    return with_tag(DESCRIPTION, (ASCII, len(text), 8), text)


def sharing_tags(pages: int) -> bytes:
    """Each page has 4096 strips by its tags, whose places and sizes all pages share."""
    shared = struct.pack("<4096I", *[8] * 4096)
    tags = page(4096, DEFLATE, 0, 0) | {STRIP_OFFSETS: (LONG, 4096, 8), STRIP_BYTES: (LONG, 4096, 8)}
    return tiff([tags] * pages, shared)


def many_images(count: int) -> bytes:
    pixels = '<Image><Pixels SizeX="100" SizeY="100" SizeZ="1000000" SizeC="1" SizeT="1" Type="uint8"/></Image>'
    return described(f"<OME>{pixels * count}</OME>".encode())


OF_A_FILE = r"its header claims [\d,]+ bytes of voxels, the file has [\d,]+"
BAD_TIFFS: dict[str, tuple[bytes, str]] = {
    "one page, uncompressed": (tiff([page(60_000, NONE, 8, 1000)], bytes(1000)), f"{OF_A_FILE}$"),
    "one page, deflate": (tiff([page(60_000, DEFLATE, 8, len(ZEROS))], ZEROS), rf"{OF_A_FILE}.* at most \(deflate\)"),
    "one page, LZW": (tiff([page(60_000, LZW, 8, 1000)], bytes(1000)), rf"{OF_A_FILE}.* at most \(LZW\)"),
    "one page, PackBits": (tiff([page(60_000, PACKBITS, 8, 1000)], bytes(1000)), r"64,000 at most \(PackBits\)"),
    "one page, LZMA": (tiff([page(60_000, LZMA, 8, 1000)], bytes(1000)), r"8,000,000 at most \(LZMA\)"),
    "one page, Zstandard": (tiff([page(60_000, ZSTD, 8, 1000)], bytes(1000)), r"32,768,000 at most \(Zstandard\)"),
    "one page, JPEG 2000": (tiff([page(60_000, JPEG_2000, 8, 1000)], bytes(1000)), OF_A_FILE),
    "64-bit voxels": (tiff([page(20_000, DEFLATE, 8, len(ZEROS), bits=64)], ZEROS), "claims 3,200,000,000 bytes"),
    "pages that share a strip": (tiff([page(1024, DEFLATE, 8, len(ZEROS))] * 3, ZEROS), "claims 3,145,728 bytes"),
    "padding does not count": (
        tiff([page(1024, DEFLATE, 8, len(ZEROS))] * 3, ZEROS + bytes(1 << 18)),
        r"3,145,728 bytes of voxels, the file has 1,0\d\d",
    ),
    "strips of 0 bytes": (tiff([page(20_000, DEFLATE, 0, 0)] * 3, ZEROS), "the file has 0"),
    "a tile without an end": (tiled(100, 1 << 16), "claims 4,294,967,296 bytes"),
    "a side without an end": (tiff([page(0xFFFFFFFF, DEFLATE, 8, len(ZEROS))], ZEROS), "18,446,744,065,119,617,025"),
    "tags that pages share": (sharing_tags(60), r"the tags up to page 1 claim 32,864 bytes, the file has 22,\d+"),
    "values without an end": (with_tag(BITS, (SHORT, 0xFFFFFFFF, 8)), "page 1 claim 8,589,9"),
    "levels without an end": (
        with_tag(SUB_IFDS, (LONG, 5000, 8), bytes(20_000)),
        "page 1 has 5,000 levels of a pyramid",
    ),
    "tags without an end": (
        struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 1 << 60),
        "has 1,152,921,504,606,846,976 tags",
    ),
    "entities": (
        described(b'<!DOCTYPE a [<!ENTITY b "bbbb">]><OME>&b;</OME>'),
        "entities of XML, which are not expanded",
    ),
    "entities in small letters": (described(b'< x ><! entity b "bbbb">' + b" " * 50 + b"</OME>"), "not expanded"),
    "billions of planes in sum": (many_images(20), "it declares 20,000,000 planes and holds 1"),
}


@pytest.mark.usefixtures("little_taken")
@pytest.mark.parametrize(("content", "says"), BAD_TIFFS.values(), ids=BAD_TIFFS)
def test_a_tiff_that_claims_more_than_it_holds_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    """A few kilobytes, with gigabytes by its tags."""
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match=says):
        raise refusal(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("limit", "value", "content", "says"),
    [
        ("MAX_PAGES", 50, tiff([page(4, NONE, 8, 16)] * 60, bytes(16)), "it holds more than 50 pages"),
        ("MAX_TAGS", 7, tiff([page(4, NONE, 8, 16)], bytes(16)), "page 1 has 8 tags, the limit is 7"),
        ("MAX_TAG_BYTES", 90, tiff([page(4, NONE, 8, 16)], bytes(16)), "page 1 claim 96 bytes, the limit is 90"),
        ("MAX_TEXT_BYTES", 99, described(b" " * 100), "its description has 100 bytes, the limit is 99"),
        ("MAX_ELEMENTS", 9, described(b"<a>" * 10), "its metadata have 10 marks of XML, the limit is 9"),
    ],
)
def test_a_header_without_an_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, content: bytes, says: str
) -> None:
    """With what it has and the limit, by every reader."""
    monkeypatch.setattr(directories, limit, value)
    (tmp_path / "a.tif").write_bytes(content)
    assert says in refusal(tmp_path / "a.tif").what


@pytest.mark.parametrize("following", [8, 24, 1 << 31, 0xFFFFFFFF])
def test_pages_that_lead_nowhere_or_in_circles_end(tmp_path: Path, following: int) -> None:
    """The last page names an earlier one, or a place behind the end."""
    (tmp_path / "a.tif").write_bytes(tiff([page(4, NONE, 8, 16)] * 3, bytes(16), following=following))
    try:
        assert read_stack(tmp_path / "a.tif").shape == (3, 4, 4)
    except DataError as error:
        assert error.file == tmp_path / "a.tif"  # noqa: PT017 - either outcome is right here


EXTENDED = {"extended": 1, "begin": 1024.0}
BAD_NIFTIS: dict[str, tuple[str, bytes, str]] = {
    "cube": ("a.nii.gz", packed(nifti_1([32767] * 3)), r"35,181,150,961,663 bytes.* at most \(deflate\)"),
    "cube, plain": ("a.nii", nifti_1([32767] * 3), "claims 35,181,150,961,663 bytes of voxels, the file has 352$"),
    "seven axes": ("a.nii.gz", packed(nifti_1([32767] * 7)), OF_A_FILE),
    "64-bit axes": ("a.nii.gz", packed(nifti_2([1 << 40] * 3)), OF_A_FILE),
    "64-bit voxels": ("a.nii.gz", packed(nifti_1([999] * 3, bits=64, code=64)), "claims 7,976,023,992 bytes"),
    "one voxel more than deflate packs": ("a.nii.gz", packed(nifti_1([1000] * 3, bytes(1 << 16))), OF_A_FILE),
    "negative axis": ("a.nii", nifti_1([-5, 5, 5]), "damaged"),
    "header without an end": ("a.nii.gz", packed(nifti_1([4] * 3, begin=2e9)), r"takes 2e\+09 bytes, the limit is"),
    "header of NaN bytes": ("a.nii", nifti_1([4] * 3, bytes(64), begin=float("nan")), "takes nan bytes"),
    "header of infinite bytes": ("a.nii", nifti_1([4] * 3, bytes(64), begin=float("inf")), "takes inf bytes"),
    "header of negative bytes": ("a.nii", nifti_1([4] * 3, bytes(64), begin=-352.0), "takes -352 bytes"),
    "64-bit header": ("a.nii.gz", packed(nifti_2([4] * 3, begin=1 << 62)), r"takes 4\.6\d+e\+18 bytes"),
    "extension of gigabytes": (
        "a.nii.gz",
        packed(nifti_1([4] * 3, struct.pack("<ii", 0x7FFFFFF0, 6) + bytes(2000), **EXTENDED)),
        "an extension of its header has 2,147,483,632 bytes, 672 are left for it",
    ),
    "negative extension": (
        "a.nii",
        nifti_1([4] * 3, struct.pack("<ii", -16, 6) + bytes(999), **EXTENDED),
        "has -16 bytes",
    ),
    "empty extension": ("a.nii", nifti_1([4] * 3, bytes(1200), **EXTENDED), "has 0 bytes, 672 are left for it"),
    "voxels within the header": (
        "a.nii",
        nifti_1([4] * 3, bytes(999), extended=1, begin=100.0),
        "before its header ends",
    ),
}


@pytest.mark.usefixtures("little_taken")
@pytest.mark.parametrize(("name", "content", "says"), BAD_NIFTIS.values(), ids=BAD_NIFTIS)
def test_a_nifti_that_claims_more_than_it_holds_is_refused(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    """By its header, before anything more is inflated."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        raise refusal(tmp_path / name)


@pytest.mark.usefixtures("little_taken")
@pytest.mark.parametrize("members", [1, 40])
def test_a_nifti_is_inflated_no_further_than_its_claim(tmp_path: Path, members: int) -> None:
    """What follows the voxels is counted in pieces, not kept; in one compressed stream or in many."""
    whole = packed(nifti_1([8, 8, 8], bytes(512) + bytes(1 << 20)))
    rest = packed(bytes(1 << 20)) * (members - 1) + (packed(bytes(4 << 20)) if members == 1 else b"")
    (tmp_path / "a.nii.gz").write_bytes(whole + rest)
    error = refusal(tmp_path / "a.nii.gz", (read_stack, lambda path: list(read_slices(path))))
    assert "it unpacks to more than the 864 bytes that its header claims" in error.what


SPARSE = np.zeros((2, 512, 512), np.uint8)
SPARSE[1, 100, 200:210] = 1


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits", "lzma", "zstd", "jpeg2000", "deflate"])
@pytest.mark.parametrize("how", [{}, {"tile": (256, 256)}, {"rowsperstrip": 512}], ids=["strips", "tiles", "pages"])
def test_a_real_label_is_never_called_impossible(tmp_path: Path, compression: str, how: dict[str, object]) -> None:
    """Almost nothing but background, as tightly as each code packs it."""
    file = save_tiff(tmp_path / "a.tif", SPARSE, compression=compression, photometric="minisblack", **how)
    assert file.stat().st_size < SPARSE.size / 30
    assert read_shape(file) == SPARSE.shape


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_label_of_one_value_is_never_called_impossible(tmp_path: Path, value: int) -> None:
    """The tightest that deflate packs, in a TIFF, in its tiles beyond the edge, and in a NIfTI."""
    flat = np.full((3, 500, 500), value, np.uint8)
    how = {"compression": "zlib", "compressionargs": {"level": 9}, "tile": (512, 512), "photometric": "minisblack"}
    save_tiff(tmp_path / "a.tif", flat, **how)
    assert read_shape(tmp_path / "a.tif") == flat.shape
    (tmp_path / "a.nii.gz").write_bytes(zip_tightly(nifti_1(flat.T.shape, flat.tobytes())))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.nii.gz"), flat)


def zip_tightly(content: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(content) + packer.flush()


# --- more than memory holds ---


def _room(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(claims, "memory_room", lambda: Room(bytes=room, where="are left by this test"))


@pytest.mark.parametrize(
    ("name", "dtype", "needed"),
    [("a.tif", "uint8", 5), ("a.tif", "float64", 12), ("a.nii", "uint8", 6), ("a.nii.gz", "uint16", 8)],
)
def test_a_stack_is_read_where_memory_holds_it_with_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str, needed: int
) -> None:
    """`needed` bytes for each voxel: as it is stored and read, and as a float; one byte less is too little."""
    stack = STACK.astype(dtype)
    file = tmp_path / name
    save_tiff(file, stack, metadata=None) if name == "a.tif" else save_nifti(file, stack, (1, 1, 2), "mm")
    chunk = stack[0].nbytes if name == "a.tif" else 0
    _room(monkeypatch, stack.size * needed + chunk)
    np.testing.assert_array_equal(read_stack(file), stack)
    _room(monkeypatch, stack.size * needed + chunk - 1)
    with pytest.raises(CapillaryError, match="does not fit into memory") as refused:
        read_stack(file)
    assert (refused.value.code, refused.value.file) == (ExitCode.MACHINE, file)
    assert "are left by this test" in str(refused.value.value)
    assert "memory_gb" in refused.value.remedy
    assert np.concatenate(list(read_slices(file))).size == stack.size  # a slice fits


def test_a_scaled_nifti_is_read_as_64_bit_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 bytes for each voxel of one byte."""
    (tmp_path / "a.nii").write_bytes(nifti_1([10, 10, 10], bytes(1000), slope=2.0))
    _room(monkeypatch, 13_000)
    assert read_stack(tmp_path / "a.nii").dtype == np.float64
    _room(monkeypatch, 12_999)
    with pytest.raises(CapillaryError, match="does not fit into memory"):
        read_stack(tmp_path / "a.nii")


@pytest.mark.parametrize("how", [{}, {"tile": (4, 16, 16)}], ids=["pages", "volumetric tiles"])
def test_a_look_at_a_boolean_stack_needs_memory_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, object]
) -> None:
    """Which of its values is the rarer decides how it is read, before a voxel is wanted."""
    tifffile.imwrite(tmp_path / "a.tif", STACK > 100, compression="zlib", **how)  # type: ignore[arg-type]
    _room(monkeypatch, 5 * STACK[0].size)
    with pytest.raises(CapillaryError, match="does not fit into memory"):
        read_header(tmp_path / "a.tif")


def test_a_file_whose_slices_are_all_over_it_needs_memory_for_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Volumetric tiles are read whole, slice by slice as well."""
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, STACK, tile=(4, 16, 16), compression="zlib")
    _room(monkeypatch, 4 * STACK.size)
    with pytest.raises(CapillaryError, match="does not fit into memory"):
        list(read_slices(file))


def sparse(file: Path, tile: int) -> None:
    """Four tiles a slice, of which the file has the very first alone."""
    tiles: Iterator[object] = (np.ones((tile, tile), np.uint8) if number == 0 else None for number in range(4 * 6))
    shape = (6, 2 * tile, 2 * tile)
    tifffile.imwrite(file, tiles, shape=shape, dtype=np.uint8, tile=(tile, tile), compression="zlib")


def test_empty_tiles_may_be_left_out_of_a_file(tmp_path: Path) -> None:
    """As sparse labels are written; tiles of which one alone is a large claim may not."""
    sparse(tmp_path / "a.tif", 256)
    assert read_stack(tmp_path / "a.tif").sum() == 256**2
    sparse(tmp_path / "b.tif", 1024)
    assert "its header claims" in refusal(tmp_path / "b.tif").what
