"""What a batch script carries: code and small files, nothing of the head's own, no more than Slurm takes."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from capillary.places.apart import bundle
from capillary.places.apart.bundle import Apart, pack, tar_of, untar
from stages.common.errors import CapillaryError


@pytest.fixture
def apart(tmp_path: Path) -> Apart:
    folder = tmp_path / "job"
    for name in ("job.json", "carried/.capillary/provenance/params.yaml", "head.lock", "log", "bundle.tar.gz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return Apart(box="toy-1", root=tmp_path, folder=folder, fetched={"data/in.txt": "abc"})


def names_in(content: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {info.name for info in archive}


def test_a_bundle_has_code_deps_and_the_job(apart: Apart, tmp_path: Path) -> None:
    """Compiled code, the head's lock and the log stay."""
    (tmp_path / "stages/toy/__pycache__").mkdir(parents=True)
    (tmp_path / "stages/toy/__pycache__/a.pyc").touch()
    (tmp_path / "stages/toy/__main__.py").touch()
    made = pack(apart, "[core]\n", {"stages": tmp_path / "stages"})
    names = names_in(made)
    assert {"code/capillary/__init__.py", "code/stages/common/errors.py", "project/.dvc/config"} <= names
    assert {name for name in names if name.startswith("job/")} == {
        "job/job.json",
        "job/carried/.capillary/provenance/params.yaml",
    }
    assert {name for name in names if name.startswith("project/stages")} == {"project/stages/toy/__main__.py"}


def test_a_bundle_that_slurm_would_not_take_names_what_is_large(
    apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the way in which it goes through the remote."""
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    for name, size in (("a.csv", 10), ("b.csv", 9999)):
        (tmp_path / name).write_bytes(b"x" * size)
    with pytest.raises(CapillaryError, match="does not fit into a batch script") as caught:
        pack(apart, "", {name: tmp_path / name for name in ("a.csv", "b.csv")})
    assert "dvc add b.csv" in caught.value.remedy


def test_an_archive_is_unpacked_into_its_folder_alone(tmp_path: Path) -> None:
    """Whoever can write to the remote may have made it."""
    (tmp_path / "state/deep").mkdir(parents=True)
    (tmp_path / "state/deep/a.pt").write_text("weights")
    os.utime(tmp_path / "state/deep/a.pt", (1000, 1000))
    untar(tar_of(tmp_path / "state"), tmp_path / "copy")
    assert (tmp_path / "copy/deep/a.pt").read_text() == "weights"
    assert (tmp_path / "copy/deep/a.pt").stat().st_mtime == 1000  # which says when there was a checkpoint
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../stray"))
    with pytest.raises(CapillaryError, match="an archive in the remote"):
        untar(packed.getvalue(), tmp_path / "copy")
    assert not (tmp_path / "stray").exists()


@pytest.mark.parametrize(
    "told", [{"mtime": "nan"}, {"mtime": "inf"}, {"mtime": "1e300"}, {"path": "a\0b"}, {"path": "."}, {"path": ""}]
)
def test_an_archive_with_a_time_or_a_name_that_no_file_has_is_refused(tmp_path: Path, told: dict[str, str]) -> None:
    """The head says who may have made it, and does not end as of a defect, nor wait for a remote that has answered."""
    packed, info = io.BytesIO(), tarfile.TarInfo("a")
    info.pax_headers = told
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    with pytest.raises(CapillaryError, match="an archive in the remote"):
        untar(packed.getvalue(), tmp_path / "copy")


def test_a_file_with_two_names_travels_under_both(tmp_path: Path) -> None:
    """So is a checkpoint when a node ends while the next one is written: the state must come back."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "checkpoint.pt").write_bytes(b"weights")
    (state / "checkpoint.prev.pt").hardlink_to(state / "checkpoint.pt")
    untar(tar_of(state), tmp_path / "copy")
    assert {file.name: file.read_bytes() for file in (tmp_path / "copy").iterdir()} == {
        "checkpoint.pt": b"weights",
        "checkpoint.prev.pt": b"weights",
    }
    (state / "key").symlink_to("/etc/hostname")
    with pytest.raises(CapillaryError, match="an archive in the remote"):
        untar(tar_of(state), tmp_path / "other")


def test_a_file_that_is_swapped_for_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the stage, which still runs: a key of the user's would go to the remote."""
    state, key = tmp_path / "state", tmp_path / "id_rsa"
    state.mkdir()
    key.write_text("a key")
    (state / "checkpoint.pt").write_text("12345")
    real = bundle._info

    def swapped(archive: tarfile.TarFile, file: Path, name: str) -> tarfile.TarInfo:
        info = real(archive, file, name)
        file.unlink()
        file.symlink_to(key)
        return info

    monkeypatch.setattr(bundle, "_info", swapped)
    with pytest.raises(OSError, match="symbolic links"):
        tar_of(state)


def test_an_archive_that_claims_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of gzip can be a full disk."""
    monkeypatch.setattr(bundle, "MOST_ARCHIVE_BYTES", 1_000_000)
    (tmp_path / "state").mkdir()
    for name in ("a", "b"):
        (tmp_path / "state" / name).write_bytes(bytes(600_000))
    with pytest.raises(CapillaryError, match="an archive in the remote") as caught:
        untar(tar_of(tmp_path / "state"), tmp_path / "copy")
    assert caught.value.value == "more than 1,000,000 bytes"
    assert not (tmp_path / "copy/b").exists()
