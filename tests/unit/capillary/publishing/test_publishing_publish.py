import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from capillary.publishing import publish as publishing
from capillary.publishing.publish import publish
from stages.common.errors import ExitCode, find_foreseen
from tests.support.parts import require

OTHER_DISK = Path("/dev/shm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    root.mkdir()
    return root


@pytest.fixture
def elsewhere(root: Path) -> Iterator[Path]:
    """`data` of the workspace on another file system."""
    require(OTHER_DISK.is_dir() and OTHER_DISK.stat().st_dev != root.stat().st_dev, "a second file system")
    folder = OTHER_DISK / f"capillary-test-{os.getpid()}"
    folder.mkdir()
    (root / "data").symlink_to(folder)
    yield folder
    shutil.rmtree(folder)


def make_out(folder: Path, text: str) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_text(text)
    (folder / "b.txt").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_out_takes_the_place_of_the_former_as_a_whole(work: Path, root: Path) -> None:
    """No file of the previous out stays, and nothing else in the folder is touched."""
    make_out(work / "data/out", "new")
    make_out(root / "data/out", "old")
    (root / "data/out/only_in_old").touch()
    (root / "data/neighbour").touch()
    publish(work, ["data/out"], root)
    assert names(root / "data/out") == ["b.txt", "sub"]
    assert (root / "data/out/b.txt").read_text() == "new"
    assert names(root / "data") == ["neighbour", "out"]
    assert not (work / "data/out").exists()


@pytest.mark.parametrize("former", ["nothing", "file", "folder", "link to a file", "link to a folder", "broken link"])
@pytest.mark.parametrize("new", ["file", "folder"])
def test_an_out_takes_any_former_s_place(work: Path, root: Path, tmp_path: Path, former: str, new: str) -> None:
    """Under cache.type symlink a file out is a link into the cache; the cache itself stays as it is."""
    make_out(tmp_path / "cache", "cached")
    target = root / "data/out"
    target.parent.mkdir()
    if former == "file":
        target.write_text("old")
    elif former == "folder":
        make_out(target, "old")
    elif former != "nothing":
        places = {"link to a file": "cache/sub/a.txt", "link to a folder": "cache", "broken link": "nowhere"}
        target.symlink_to(tmp_path / places[former])
    if new == "file":
        (work / "data/out").write_text("new")
    else:
        make_out(work / "data/out", "new")
    publish(work, ["data/out"], root)
    assert not target.is_symlink()
    assert (target if new == "file" else target / "sub/a.txt").read_text() == "new"
    assert names(target.parent) == ["out"]
    assert (tmp_path / "cache/sub/a.txt").read_text() == "cached"


def test_a_first_out_makes_its_parents(work: Path, root: Path) -> None:
    """models/dice_ce is not there before the first training."""
    (work / "models/dice_ce").mkdir(parents=True)
    (work / "models/dice_ce/fold_0.json").write_text("{}")
    publish(work, ["models/dice_ce/fold_0.json"], root)
    assert (root / "models/dice_ce/fold_0.json").read_text() == "{}"


@pytest.mark.parametrize("former", [False, True])
def test_outs_reach_another_disk(work: Path, root: Path, elsewhere: Path, former: bool) -> None:
    """Where a rename cannot reach, a copy next to the target is renamed."""
    if former:
        make_out(elsewhere / "out", "old")
    make_out(work / "data/out", "new")
    (work / "data/one.txt").write_text("1")
    publish(work, ["data/out", "data/one.txt"], root)
    assert (elsewhere / "out/sub/a.txt").read_text() == "new"
    assert names(elsewhere) == ["one.txt", "out"]


def test_a_full_disk_leaves_the_former_out(
    work: Path, root: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy that was begun is removed, and the error is the disk's."""
    make_out(elsewhere / "out", "old")
    make_out(work / "data/out", "new")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("capillary.publishing.take_over.os.pwrite", full)
    with pytest.raises(OSError, match="data/out'") as caught:
        publish(work, ["data/out"], root)
    foreseen = find_foreseen(caught.value)
    assert foreseen is not None
    assert foreseen.code == ExitCode.MACHINE
    assert (elsewhere / "out/sub/a.txt").read_text() == "old"
    assert names(elsewhere) == ["out"]


def test_a_copy_on_another_disk_is_like_its_original(work: Path, root: Path, elsewhere: Path) -> None:
    """Mode and time, in a folder and alone."""
    make_out(work / "data/out", "new")
    for path in (work / "data/one.sh", work / "data/out/tool.sh"):
        path.touch()
        path.chmod(0o750)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    publish(work, ["data/out", "data/one.sh"], root)
    for path in (elsewhere / "one.sh", elsewhere / "out/tool.sh"):
        assert (path.stat().st_mode & 0o777, path.stat().st_mtime) == (0o750, 1_000_000_000)


@pytest.mark.parametrize("new", ["file", "folder"])
@pytest.mark.parametrize("reason", ["EXDEV", "EACCES", "EPERM", "ENOSPC", "EDQUOT", "EROFS", "EIO", "EBUSY", "ENOENT"])
def test_only_another_disk_is_a_reason_to_copy(
    work: Path, root: Path, monkeypatch: pytest.MonkeyPatch, reason: str, new: str
) -> None:
    """Any other failure of the rename is the user's to know, and the previous out stays."""
    number = getattr(errno, reason)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "rename", refuse)
    for folder, text in ((work, "new"), (root, "old")):
        (folder / "data").mkdir(exist_ok=True)
        if new == "folder":
            make_out(folder / "data/out", text)
        else:
            (folder / "data/out").write_text(text)
    if reason == "EXDEV":
        publish(work, ["data/out"], root)
    else:
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            publish(work, ["data/out"], root)
        assert caught.value.errno == number
    text = (root / "data/out/sub/a.txt" if new == "folder" else root / "data/out").read_text()
    assert text == ("new" if reason == "EXDEV" else "old")
    assert names(root / "data") == ["out"]


@pytest.mark.parametrize("fails", [None, OSError(errno.EIO, "broken disk"), KeyboardInterrupt("broken disk")])
def test_without_an_exchange_in_one_step_the_former_out_is_kept_until_the_new_one_stands(
    work: Path, root: Path, monkeypatch: pytest.MonkeyPatch, fails: BaseException | None
) -> None:
    """On systems without renameat2, and when the second rename fails or is interrupted."""
    monkeypatch.setattr(publishing, "_exchange", lambda _one, _other: False)
    make_out(work / "data/out", "new")
    make_out(root / "data/out", "old")
    if fails:
        rename = Path.rename

        def refuse(self: Path, target: Path) -> Path:
            if self.suffix == ".tmp":
                raise fails
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(type(fails), match="broken disk"):
            publish(work, ["data/out"], root)
    else:
        publish(work, ["data/out"], root)
    assert (root / "data/out/sub/a.txt").read_text() == ("old" if fails else "new")
    assert names(root / "data") == ["out"]


def test_the_exchange_works_on_this_system(tmp_path: Path) -> None:
    """The usual road on Linux: at no moment is the out missing."""
    make_out(tmp_path / "a", "a")
    make_out(tmp_path / "b", "b")
    assert publishing._exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a/sub/a.txt").read_text() == "b"
    assert not publishing._exchange(tmp_path / "a", tmp_path / "missing")


def test_a_system_without_an_exchange_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no renameat2; nothing is moved then."""
    monkeypatch.setattr("capillary.publishing.publish.ctypes.CDLL", lambda _name: object())
    make_out(tmp_path / "a", "a")
    make_out(tmp_path / "b", "b")
    assert not publishing._exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a/sub/a.txt").read_text() == "a"
