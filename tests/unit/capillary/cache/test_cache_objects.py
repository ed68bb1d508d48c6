"""Content from a cache that others may write to."""

import hashlib
import json
from pathlib import Path

import pytest

from capillary.compute.circumstances import digests_of
from capillary.dvc.objects import restore
from stages.common.errors import DamagedError, DataError


def store(cache: Path, content: bytes, ending: str = "") -> str:
    """Put `content` into `cache`; its hash."""
    digest = hashlib.md5(content).hexdigest() + ending
    (cache / digest[:2]).mkdir(parents=True, exist_ok=True)
    (cache / digest[:2] / digest[2:]).write_bytes(content)
    return digest


def store_folder(cache: Path, files: dict[str, bytes]) -> str:
    listed = [{"md5": store(cache, content), "relpath": name} for name, content in sorted(files.items())]
    return store(cache, json.dumps(listed).encode(), ".dir")


@pytest.mark.parametrize("files", [{"a": b"1", "inner/b": b"2"}, {}, {"é": b"x"}])
def test_a_folder_comes_back_with_the_hash_that_names_it(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Whole; the hash of the copy is the one that was asked for."""
    digest = store_folder(tmp_path / "cache", files)
    restore(tmp_path / "cache", digest, tmp_path / "data" / "processed")
    assert digests_of(tmp_path / "data", ["processed"]) == {"processed": digest}


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "inner/../../escaped"])
def test_a_folder_never_leaves_its_place(tmp_path: Path, name: str) -> None:
    """Whatever the list of its files says."""
    digest = store_folder(tmp_path / "cache", {name: b"x"})
    with pytest.raises(DamagedError):
        restore(tmp_path / "cache", digest, tmp_path / "place")
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("ending", ["", ".dir"])
def test_content_that_is_not_what_its_name_says_is_refused(tmp_path: Path, ending: str) -> None:
    """DVC takes a read-only file of its cache for whole."""
    digest = store(tmp_path / "cache", b"[]", ending)
    (tmp_path / "cache" / digest[:2] / digest[2:]).write_bytes(b"{}")
    with pytest.raises(DamagedError, match="damaged"):
        restore(tmp_path / "cache", digest, tmp_path / "place")


def test_a_link_in_the_cache_is_not_followed(tmp_path: Path) -> None:
    """It is as good as missing."""
    digest = store(tmp_path / "cache", b"secret")
    file = tmp_path / "cache" / digest[:2] / digest[2:]
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="lacks a file"):
        restore(tmp_path / "cache", digest, tmp_path / "place")


@pytest.mark.parametrize("digest", ["a" * 32, "../../etc/passwd", "A" * 32, ""])
def test_what_is_not_there_is_an_error_with_its_name(tmp_path: Path, digest: str) -> None:
    """A name that is not a hash is never a path."""
    with pytest.raises(DataError):
        restore(tmp_path, digest, tmp_path / "place")
