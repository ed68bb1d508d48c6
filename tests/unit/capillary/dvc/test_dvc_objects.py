"""Content of DVC's cache under names that nobody checked: whoever may write to a remote has chosen them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from capillary.dvc.objects import refuse_missing, restore
from stages.common.errors import DamagedError

MD5 = hashlib.md5(b"x", usedforsecurity=False).hexdigest()


def keep(cache: Path, content: bytes, end: str = "") -> str:
    """The hash of `content`, which is in `cache` afterwards."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest() + end
    file = cache / digest[:2] / digest[2:]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return digest


def keep_folder(cache: Path, *names: str) -> str:
    """The hash of a folder whose files `names` all hold the same."""
    keep(cache, b"x")
    return keep(cache, json.dumps([{"relpath": name, "md5": MD5} for name in names]).encode(), ".dir")


def test_a_folder_comes_back_with_its_files(tmp_path: Path) -> None:
    """Those in folders, too."""
    digest = keep_folder(tmp_path, "a", "b/c")
    refuse_missing(tmp_path, digest)
    restore(tmp_path, digest, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").rglob("*") if file.is_file()) == ["a", "c"]


@pytest.mark.parametrize(
    "names", [("a\0b",), ("\ud800",), (".",), ("",), ("/a",), ("../a",), ("a", "a"), ("a", "./a"), ("a", "a/b")]
)
def test_names_that_no_folder_can_have_are_refused_before_anything_is_copied(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Where a result is fetched, so that it is passed over, and the stage computes."""
    digest = keep_folder(tmp_path, *names)
    with pytest.raises(DamagedError, match="a list of files that DVC does not write"):
        refuse_missing(tmp_path, digest)


@pytest.mark.parametrize(
    "listed", [1, [1], [{}], {"a": 1}, [{"relpath": 1, "md5": MD5}], [{"relpath": "a", "md5": 1}], [["relpath", "md5"]]]
)
def test_a_list_of_another_form_is_refused(tmp_path: Path, listed: Any) -> None:
    """It has the hash by which it is named, and is not one of DVC's."""
    digest = keep(tmp_path, json.dumps(listed).encode(), ".dir")
    with pytest.raises(DamagedError, match="a list of files that DVC does not write"):
        refuse_missing(tmp_path, digest)


@pytest.mark.parametrize("content", [b"x", b"[" * 100_000, b"\xff"])
def test_a_list_that_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    """Also one that is nested without end."""
    with pytest.raises(DamagedError, match="a list of files that DVC does not write"):
        refuse_missing(tmp_path, keep(tmp_path, content, ".dir"))
