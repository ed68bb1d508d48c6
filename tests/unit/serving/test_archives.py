"""A stack that is a folder, or several files, comes in an archive: it is read as if it had been unpacked by hand."""

import io
import stat
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from serving.archives.choosing import choose_stack
from serving.archives.unpacking import unpack
from serving.failures import Refusal
from serving.jobs.files import stack_path
from serving.jobs.record import Request
from serving.uploads import SizeLimit
from stages.common.imaging.suffixes import split_inside
from tests.support.stacks.any_form import read_stack
from tests.unit.serving.conftest import Running
from tests.unit.stages.common.imaging.foreign import test_ome_set as ome_sets
from tests.unit.stages.common.imaging.foreign.written import EVERY, STACK, save_nrrd, save_zarr

LIMIT = SizeLimit(most_bytes=1_000_000, remedy="send less")
Pack = Callable[[Path, Path], None]


def _zip(source: Path, archive: Path) -> None:
    """The files below `source`, under the name of that folder."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in sorted(source.rglob("*")):
            zipped.write(file, file.relative_to(source.parent))


def _tar(source: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(source, ".")


PACKERS: Mapping[str, Pack] = {".zip": _zip, ".tar.gz": _tar}


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """A zip with these names and contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return stream.getvalue()


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    """A member that is a symbolic link."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


def unpacked(tmp_path: Path, content: bytes | Callable[[Path], None], suffix: str = ".zip") -> Path:
    """The stack of an archive, in a job's folder of its own."""
    folder = tmp_path / "job"
    folder.mkdir()
    archive = folder / f"stack{suffix}"
    if isinstance(content, bytes):
        archive.write_bytes(content)
    else:
        content(archive)
    inside = unpack(archive, f"mouse{suffix}", LIMIT)
    assert sorted(each.name for each in folder.iterdir()) == ["stack"]
    return folder / inside


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("form", EVERY)
def test_every_form_is_read_out_of_an_archive(tmp_path: Path, form: str, suffix: str) -> None:
    """With the folder that it was packed from, and with notes next to it; the array of an HDF5 file as a field."""
    source = tmp_path / "mouse 7"
    source.mkdir()
    saved = EVERY[form](source, STACK)
    (source / "notes.txt").write_text("by hand")
    stack = unpacked(tmp_path, lambda archive: PACKERS[suffix](source, archive), suffix)
    request = Request(
        file_name="m.zip",
        suffix=suffix,
        unpacked=stack.relative_to(tmp_path / "job").as_posix(),
        dataset=split_inside(str(saved))[1],
    )
    assert np.array_equal(read_stack(stack_path(tmp_path / "job", request)), STACK)


@pytest.mark.parametrize("count", [1, 3])
def test_an_ome_tiff_of_several_files_is_one_stack(tmp_path: Path, count: int) -> None:
    """By the map in its metadata, in the files or in a companion."""
    source = tmp_path / "set"
    source.mkdir()
    step = 6 // count
    image = ome_sets.pixels("".join(ome_sets.reference(z, z // step, z % step) for z in range(6)))
    (source / "a.companion.ome").write_text(f'{ome_sets.OME} UUID="urn:uuid:9">{image}</OME>')
    only = '<BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:9"/>'
    for number, name in enumerate(ome_sets.NAMES[:count]):
        planes = ome_sets.STACK[step * number : step * (number + 1), 0]
        ome_sets.write(source / name, planes, f'{ome_sets.OME} UUID="{ome_sets.uuid(number)}">{only}</OME>')
    stack = unpacked(tmp_path, lambda archive: _zip(source, archive))
    assert np.array_equal(read_stack(stack), ome_sets.STACK[:, 0])


SLICES = tuple((f"z{z}.tif", b"x") for z in range(3))
REFUSED: Mapping[str, tuple[bytes, int, str]] = {
    "no zip": (b"PK\3\4 and nothing", 422, "cannot be unpacked"),
    "nothing": (zip_of(), 422, "no stack"),
    "only notes": (zip_of(("readme.md", b"x")), 422, "no stack"),
    "nested": (zip_of(("inner.zip", zip_of(*SLICES))), 422, "no stack"),
    "zarr as a file": (zip_of(("a.ome.zarr", b"x")), 422, "no stack"),
    "two files": (zip_of(("a.nii.gz", b"x"), ("b.nii.gz", b"x")), 422, "more than one stack: a.nii.gz, b.nii.gz"),
    "two stores": (zip_of(("a.zarr/.zarray", b"{}"), ("a/b.zarr/zarr.json", b"{}")), 422, "a/b.zarr, a.zarr"),
    "store and file": (zip_of(("a.zarr/.zarray", b"{}"), ("b.tif", b"x")), 422, "more than one stack"),
    "two headers": (zip_of(("a.mhd", b"x"), ("b.mhd", b"x"), ("a.raw", b"x")), 422, "more than one stack"),
    "slices and a file": (zip_of(*SLICES, ("a.nrrd", b"x")), 422, "a.nrrd among slices"),
    "two folders": (zip_of(*((f"{c}/{name}", b"x") for c in "ab" for name, _ in SLICES)), 422, "a, b"),
    "zip among slices": (zip_of(*SLICES, ("more.zip", b"x")), 422, "more.zip among slices"),
    "empty": (zip_of(("a.tif", b"")), 422, "empty"),
    "traversal": (zip_of(("../a.tif", b"x")), 422, "leads outside"),
    "absolute": (zip_of(("/tmp/a.tif", b"x")), 422, "is absolute"),
    "control": (zip_of(("a\x1b.tif", b"x")), 422, "control character"),
    "link out": (zip_of(link("a.tif", "/etc/passwd")), 422, "absolute path"),
    "link up": (zip_of(link("a.tif", "../../job.json")), 422, "leads outside"),
    "link in circles": (zip_of(link("a.tif", "a.tif")), 422, "in circles"),
    "store of links": (zip_of(("a/.zarray", b"{}"), link("a/0.0", "/etc/passwd")), 422, "absolute path"),
    "twice": (zip_of(("Z1.tif", b"x"), ("z1.tif", b"y")), 422, "case"),
    "long name": (zip_of(*SLICES, (f"z{'0' * 300}9.tif", b"x")), 422, "name that cannot be used"),
    "large": (zip_of(("a.tif", bytes(1_000_001))), 413, "more than 1,000,000 bytes"),
    "large besides": (zip_of(("a.tif", b"x"), ("b.bin", bytes(1_000_001))), 413, "more than 1,000,000 bytes"),
    "many large": (zip_of(*((f"z{z}.tif", bytes(10_000)) for z in range(101))), 413, "more than 1,000,000 bytes"),
}


@pytest.mark.parametrize(("content", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path: Path, content: bytes, status: int, words: str) -> None:
    """With a remedy, and nothing written outside the job's folder."""
    with pytest.raises(Refusal) as refused:
        unpacked(tmp_path, content)
    assert (refused.value.status, words in refused.value.what) == (status, True), refused.value.what
    assert refused.value.remedy
    assert [each.name for each in tmp_path.iterdir()] == ["job"]


def _endless(archive: Path) -> None:
    """A tar of a few kilobytes whose only member claims a gigabyte of zeros, and has them."""
    info = tarfile.TarInfo("a.tif")
    info.size = 1 << 30
    packer = zlib.compressobj(9, wbits=31)
    with archive.open("wb") as stream:
        stream.write(packer.compress(info.tobuf()))
        piece = bytes(1 << 20)
        for _ in range(16):
            stream.write(packer.compress(piece))
        stream.write(packer.flush())


def test_a_bomb_is_refused_by_its_first_header(tmp_path: Path) -> None:
    """Before anything of it is inflated."""
    tracemalloc.start()
    try:
        with pytest.raises(Refusal) as refused:
            unpacked(tmp_path, _endless, ".tar.gz")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert (refused.value.status, refused.value.remedy) == (413, LIMIT.remedy)


def test_a_disk_without_room_is_no_fault_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known before anything is written."""
    usage = "stages.ingest.sources.archives.limits.shutil.disk_usage"
    monkeypatch.setattr(usage, lambda _folder: SimpleNamespace(free=1000))
    with pytest.raises(Refusal) as refused:
        unpacked(tmp_path, zip_of(*SLICES))
    assert refused.value.status == 507


@pytest.mark.parametrize(
    "names",
    [
        [f"{number}/{name}" for number in range(20_000) for name in (".zarray", "0.0")],
        [f"{number}.mhd" for number in range(40_000)],
        [f"{number}/a.tif" for number in range(40_000)],
    ],
    ids=["stores", "headers", "folders"],
)
def test_tens_of_thousands_of_stacks_are_refused_at_once(names: list[str]) -> None:
    """Their number alone would keep a core busy for minutes if each was compared with each."""
    began = time.process_time()
    with pytest.raises(Refusal, match="more than one stack"):
        choose_stack(names)
    assert time.process_time() - began < 5


def test_names_that_sort_between_a_folder_and_its_files_change_nothing() -> None:
    """`-` comes before `/`."""
    with pytest.raises(Refusal) as refused:
        choose_stack(["a/.zgroup", "a-b/.zgroup", "a/0/.zarray", "a/0/0"])
    assert refused.value.what == "the archive holds more than one stack: a, a-b"
    assert choose_stack(["a/.zgroup", "a/0/.zarray", "a/0/0", "a.txt"]).parts == ("a/.zgroup", "a/0/.zarray", "a/0/0")


def test_links_within_an_archive_are_files_when_unpacked(tmp_path: Path) -> None:
    """As in ingest: by name, never as a link."""
    source = tmp_path / "source"
    source.mkdir()
    save_nrrd(source / "a.nhdr", STACK)
    (source / "a.raw.gz").rename(source / "kept")
    (source / "a.raw.gz").symlink_to("kept")
    stack = unpacked(tmp_path, lambda archive: _tar(source, archive), ".tar.gz")
    assert np.array_equal(read_stack(stack), STACK)
    assert not any(each.is_symlink() for each in stack.parent.iterdir())


def test_a_job_of_a_zip_waits_with_its_stack(start: Callable[..., Running], tmp_path: Path) -> None:
    """Unpacked when it was accepted; the result has the archive's name."""
    running = start()
    answer = running.submit(zip_of(("scan/seven.tif", b"plain")), name="mouse 7.zip", dataset="")
    assert answer.status_code == 202
    job = running.ended(answer.json()["id"])
    assert (job["state"], job["request"]["unpacked"]) == ("done", "stack/the_stack.tif")
    mask = running.client.get(f"/v1/jobs/{job['id']}/mask")
    assert mask.content.startswith(b"mask of plain")
    assert "mouse%207_mask.tif" in mask.headers["Content-Disposition"]
    refused = running.submit(zip_of(("seven.tif", b"plain")), name="a.zip", dataset="/raw")
    assert (refused.status_code, "not an HDF5 file" in refused.text) == (422, True)
    assert running.submit(zip_of(("seven.h5", b"plain")), name="a.zip", dataset="/raw").status_code == 202


def test_a_store_of_many_levels_is_one_stack(tmp_path: Path) -> None:
    """Packed from inside of it, too, so that its metadata are at the top."""
    store = save_zarr(tmp_path / "a.ome.zarr", [STACK, STACK[:, ::2, ::2]])
    stack = unpacked(tmp_path, lambda archive: _tar(store, archive), ".tar.gz")
    assert np.array_equal(read_stack(stack), STACK)
