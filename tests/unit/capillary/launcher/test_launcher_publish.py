import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from capillary.launcher import publish as publishing
from capillary.launcher.publish import check_scratch, publish
from stages.common.errors import CapillaryError, ExitCode, find_foreseen
from tests.support.parts import require

OTHER_DISK = Path("/dev/shm")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A stage's working folder with a link to a dep."""
    work = tmp_path / "sandbox" / "work"
    (work / "data").mkdir(parents=True)
    (work / "params.yaml").touch()
    (tmp_path / "in.txt").write_text("in")
    (work / "data/in.txt").symlink_to(tmp_path / "in.txt")
    return work


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
    (folder / "link").symlink_to("sub/a.txt")


def check(work: Path, *outs: str) -> None:
    check_scratch(work, outs or ("data/out",), {work / "data/in.txt"}, "toy")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_out_takes_the_place_of_the_former_as_a_whole(work: Path, root: Path) -> None:
    """No file of the former out stays, and nothing else in the folder is touched."""
    make_out(work / "data/out", "new")
    make_out(root / "data/out", "old")
    (root / "data/out/only_in_old").touch()
    (root / "data/neighbour").touch()
    publish(work, ["data/out"], root)
    assert names(root / "data/out") == ["link", "sub"]
    assert (root / "data/out/link").read_text() == "new"
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
    """Where a rename cannot reach, a copy beside the target is renamed; links in it stay links."""
    if former:
        make_out(elsewhere / "out", "old")
    make_out(work / "data/out", "new")
    (work / "data/one.txt").write_text("1")
    publish(work, ["data/out", "data/one.txt"], root)
    assert (elsewhere / "out/sub/a.txt").read_text() == "new"
    assert (elsewhere / "out/link").readlink() == Path("sub/a.txt")
    assert names(elsewhere) == ["one.txt", "out"]


def test_a_full_disk_leaves_the_former_out(
    work: Path, root: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy that was begun is removed, and the error is the disk's."""
    make_out(elsewhere / "out", "old")
    make_out(work / "data/out", "new")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(elsewhere))

    monkeypatch.setattr(publishing.shutil, "copy2", full)
    with pytest.raises(Exception, match="out") as caught:
        publish(work, ["data/out"], root)
    foreseen = find_foreseen(caught.value)
    assert foreseen is not None
    assert foreseen.code == ExitCode.MACHINE
    assert (elsewhere / "out/sub/a.txt").read_text() == "old"
    assert names(elsewhere) == ["out"]


@pytest.mark.parametrize("fails", [False, True])
def test_without_an_exchange_in_one_step_the_former_out_is_kept_until_the_new_one_stands(
    work: Path, root: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """On systems without renameat2, and when the second rename fails."""
    monkeypatch.setattr(publishing, "_exchange", lambda _one, _other: False)
    make_out(work / "data/out", "new")
    make_out(root / "data/out", "old")
    if fails:
        rename = Path.rename

        def refuse(self: Path, target: Path) -> Path:
            if self.suffix == ".tmp":
                raise OSError(errno.EIO, "broken disk")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="broken disk"):
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


def test_a_working_folder_with_whole_outs_passes(work: Path) -> None:
    """Params, links to deps, empty folders and hidden temporary files beside an out are no fault."""
    make_out(work / "data/out", "new")
    (work / "data/.out.123.tmp").touch()
    (work / "empty").mkdir()
    (work / "data/out/in.txt").symlink_to("../in.txt")
    check(work)


@pytest.mark.parametrize("outs", [("data/out",), ("data/there", "data/out")])
def test_a_missing_out_is_named(work: Path, outs: tuple[str, ...]) -> None:
    """A stage that ends with 0 has to have made all of them."""
    (work / "data/there").touch()
    with pytest.raises(CapillaryError, match="ended without its out data/out"):
        check(work, *outs)


@pytest.mark.parametrize("name", ["stray.pt", "data/stray.pt", "data/in.txt.bak", "made/deep/x", "data/.out"])
def test_a_file_that_is_not_declared_is_named(work: Path, name: str) -> None:
    """It would vanish with the sandbox; the guard does not see those that C code or other programs write."""
    make_out(work / "data/out", "new")
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    (work / name).touch()
    with pytest.raises(CapillaryError, match="does not declare") as caught:
        check(work)
    assert caught.value.file == name
    assert caught.value.code == ExitCode.UNDECLARED


def test_a_link_that_is_not_declared_is_named(work: Path) -> None:
    """To a file or to a folder."""
    make_out(work / "data/out", "new")
    (work / "folder").symlink_to("/usr")
    (work / "data/file").symlink_to("/etc/hosts")
    with pytest.raises(CapillaryError) as caught:
        check(work)
    assert caught.value.file == "data/file, folder"


@pytest.mark.parametrize("name", ["data/out", "data/out/link2", "data/out/sub/link2"])
def test_a_link_into_the_working_folder_is_refused(work: Path, name: str) -> None:
    """The working folder is gone a moment later."""
    if name != "data/out":
        make_out(work / "data/out", "new")
    (work / name).symlink_to(work / "data/in.txt")
    with pytest.raises(CapillaryError, match="leads into its working folder") as caught:
        check(work)
    assert str(caught.value.file) == name
