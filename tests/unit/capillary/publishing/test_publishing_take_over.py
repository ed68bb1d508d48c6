"""What a stage made is swapped between the look at it and its use, as a process of the stage that still runs can do.

Neither executor may publish or keep what a link leads to, whatever is swapped and at whichever moment.
"""

import contextlib
import dataclasses
import itertools
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from capillary.executors.container import scratch
from capillary.executors.process import execute as process
from capillary.executors.sandbox import Sandbox
from capillary.lifetimes.stop import Stop
from capillary.planning.plan import StagePlan
from capillary.publishing import finished, take_over
from capillary.publishing.publish import publish
from stages.common.errors import CapillaryError, ExitCode, UndeclaredError

MakePlan = Callable[..., StagePlan]
Swap = Callable[[Path, Path], None]  # the out, a key of the user
KEY = "a key of the user"
KEYS = ("a.txt", "b.txt", "id_rsa")
OUT = "data/out"


def swap_for_link(place: Path, target: Path | str) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    place.symlink_to(target)


def swap_for_socket(place: Path) -> None:
    place.unlink()
    here = Path.cwd()
    os.chdir(place.parent)  # a socket's path is short
    try:
        socket.socket(socket.AF_UNIX).bind(place.name)
    finally:
        os.chdir(here)


def swap_for_pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


def swap_for_folder(place: Path, key: Path) -> None:
    place.unlink()
    place.mkdir()
    (place / "inner").symlink_to(key)


def move_and_link(place: Path) -> None:
    """The folder itself, under its former name as a link."""
    place.rename(place.with_name("moved"))
    place.symlink_to("moved")


SWAPS: dict[str, Swap] = {
    "a file, for a link to a key": lambda out, key: swap_for_link(out / "a.txt", key),
    "a file, for a link to a folder of keys": lambda out, key: swap_for_link(out / "a.txt", key.parent),
    "a file, for a link to a dep": lambda out, _: swap_for_link(out / "a.txt", out.parent / "in.txt"),
    "a file, for a link upwards": lambda out, _: swap_for_link(out / "a.txt", "../../.."),
    "a file, for a broken link": lambda out, _: swap_for_link(out / "a.txt", "nowhere"),
    "a file, for a link to itself": lambda out, _: swap_for_link(out / "a.txt", "a.txt"),
    "a file, for a link through /proc": lambda out, key: swap_for_link(out / "a.txt", f"/proc/self/root{key}"),
    "a file, for a pipe": lambda out, _: swap_for_pipe(out / "a.txt"),
    "a file, for a socket": lambda out, _: swap_for_socket(out / "a.txt"),
    "a file, for a folder with a link": lambda out, key: swap_for_folder(out / "a.txt", key),
    "a deep file, for a link to a key": lambda out, key: swap_for_link(out / "sub/deep/b.txt", key),
    "a deep file, for a pipe": lambda out, _: swap_for_pipe(out / "sub/deep/b.txt"),
    "a folder, for a link to one of keys": lambda out, key: swap_for_link(out / "sub", key.parent),
    "a folder, for a link to a key": lambda out, key: swap_for_link(out / "sub", key),
    "a folder, for a link to itself": lambda out, _: move_and_link(out / "sub"),
    "a deep folder, for a link to one of keys": lambda out, key: swap_for_link(out / "sub/deep", key.parent),
    "the out, for a link to a folder of keys": lambda out, key: swap_for_link(out, key.parent),
    "the out, for a link to a key": lambda out, key: swap_for_link(out, key),
    "the out, for a link to itself": lambda out, _: move_and_link(out),
    "the folder of the out, for a link": lambda out, key: swap_for_link(out.parent, key.parent.parent),
    "a new link": lambda out, key: (out / "sub/new").symlink_to(key),
}


def make_out(work: Path, text: str) -> None:
    (work / OUT / "sub/deep").mkdir(parents=True)
    for name in ("a.txt", "sub/deep/b.txt"):
        (work / OUT / name).write_text(text)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """In a folder with the names that a stage's outs have."""
    key = tmp_path / "home/out/a.txt"
    key.parent.mkdir(parents=True)
    for name in KEYS:
        (key.parent / name).write_text(KEY)
    return key


def leaked(folder: Path) -> list[Path]:
    """Links in `folder`, and files with what the key holds."""
    every = [Path(parent, name) for parent, names, files in os.walk(folder) for name in (*names, *files)]
    return [path for path in every if path.is_symlink() or (path.is_file() and path.read_text() == KEY)]


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS)
@pytest.mark.parametrize("executor", ["process", "container"])
def test_what_is_swapped_after_the_checks_is_not_published(
    make_plan: MakePlan, root: Path, key: Path, monkeypatch: pytest.MonkeyPatch, executor: str, swap: Swap
) -> None:
    """Nor kept for the next run; the former out stands as it was."""
    plan = make_plan("data/in.txt")
    plan = dataclasses.replace(plan, access=plan.access.model_copy(update={"resume": True}))
    make_out(root, "old")

    def publish_outs(work: Path) -> None:
        swap(work / OUT, key)
        with pytest.raises((UndeclaredError, FileNotFoundError)):
            finished.keep(plan, work)
        publish(work, plan.outs, plan.root)

    def run(place: scratch.Scratch | Sandbox) -> int:
        make_out(place.work, "new")
        return 0

    def execute() -> int:
        if executor == "container":
            return scratch.run_in_scratch(plan, Stop(), publish_outs, run)
        monkeypatch.setattr(process, "_run", lambda _plan, box, _stop: run(box))
        return process.execute(plan, Stop(), publish_outs)

    with pytest.raises((UndeclaredError, FileNotFoundError)):
        execute()
    assert (root / OUT / "a.txt").read_text() == (root / OUT / "sub/deep/b.txt").read_text() == "old"
    assert leaked(root) == []
    assert not finished.has(plan)


# the calls before which a process of the stage could come
IN_THE_MIDDLE = (
    "a file, for a link to a key",
    "a file, for a pipe",
    "a file, for a folder with a link",
    "a deep file, for a link to a key",
    "a folder, for a link to one of keys",
    "a folder, for a link to itself",
    "the out, for a link to a folder of keys",
    "the folder of the out, for a link",
)
CALLS = {"same": ("stat", "listdir", "open", "rename"), "other": ("stat", "listdir", "open")}


@pytest.mark.parametrize("disk", CALLS)
@pytest.mark.parametrize("name", IN_THE_MIDDLE)
def test_a_swap_in_the_middle_brings_nothing_that_a_link_leads_to(
    tmp_path: Path, work: Path, key: Path, monkeypatch: pytest.MonkeyPatch, name: str, disk: str
) -> None:
    """Before each call: what comes is plain and the stage's own, or refused; the user's files stay."""
    if disk == "other":
        monkeypatch.setattr(take_over, "_moved", lambda *_: False)
    for call in CALLS[disk]:
        for number in itertools.count():
            _remove(work / "data")
            make_out(work, "new")
            ready = tmp_path / f"ready-{call}-{number}"
            with (
                before(call, number, lambda: _try(SWAPS[name], work / OUT, key)) as acted,
                contextlib.suppress(UndeclaredError, OSError),
            ):
                take_over.take_over(work, OUT, ready)
                assert leaked(ready) == []
            if not acted:
                break
        assert number
    assert {file.name: file.read_text() for file in key.parent.iterdir()} == dict.fromkeys(KEYS, KEY)


@contextlib.contextmanager
def before(call: str, number: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """`act` before the call `number` of os.`call` in the block; the list is not empty once it did."""
    real, calls, acted = getattr(os, call), itertools.count(), list[int]()

    def hooked(*words: object, **more: object) -> object:
        if next(calls) == number and not acted:
            acted.append(number)
            act()
        return real(*words, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, hooked)
        yield acted


def _remove(place: Path) -> None:
    if place.is_symlink():
        place.unlink()
    else:
        shutil.rmtree(place)


def _try(swap: Swap, out: Path, key: Path) -> None:
    """What was moved already cannot be swapped any more."""
    try:
        swap(out, key)
    except OSError:
        return


@pytest.mark.parametrize("folder", ["", "sub", "sub/deep"])
def test_a_folder_that_the_stage_keeps_open_is_not_the_one_that_is_published(
    work: Path, root: Path, key: Path, folder: str
) -> None:
    """A link made through it, at any time, is not in the workspace."""
    make_out(work, "new")
    held = os.open(work / OUT / folder, os.O_RDONLY)
    try:
        publish(work, [OUT], root)
        with contextlib.suppress(FileNotFoundError):  # the folder is gone
            os.symlink(key, "late", dir_fd=held)
    finally:
        os.close(held)
    assert leaked(root / OUT) == []
    assert (root / OUT / "sub/deep/b.txt").read_text() == "new"


@pytest.mark.parametrize("copies", [False, True])
def test_folders_in_folders_without_end_are_refused(tmp_path: Path, work: Path, copies: bool) -> None:
    """Each is held open while what is in it is taken."""
    (work / OUT / "/".join(["d"] * 120)).mkdir(parents=True)
    with pytest.raises(CapillaryError, match="more than 100 deep") as caught:
        take_over.take_over(work, OUT, tmp_path / "ready", copies=copies)
    assert caught.value.code == ExitCode.UNDECLARED


@pytest.mark.parametrize("copies", [False, True])
def test_modes_and_times_come_along(tmp_path: Path, work: Path, copies: bool) -> None:
    """Also of a folder in which nobody may write."""
    make_out(work, "new")
    (work / OUT / "a.txt").chmod(0o640)
    os.utime(work / OUT / "a.txt", ns=(10**18, 10**18))
    (work / OUT / "sub").chmod(0o550)
    take_over.take_over(work, OUT, tmp_path / "ready", copies=copies)
    file, folder = (tmp_path / "ready/a.txt").stat(), (tmp_path / "ready/sub").stat()
    assert (file.st_mode & 0o777, file.st_mtime_ns, folder.st_mode & 0o777) == (0o640, 10**18, 0o550)
    assert (tmp_path / "ready/sub/deep/b.txt").read_text() == "new"
    assert (work / OUT).exists() is copies


@pytest.mark.parametrize("copies", [False, True])
def test_a_file_of_the_user_under_another_name_is_not_the_out(
    tmp_path: Path, work: Path, key: Path, copies: bool
) -> None:
    """A program of a plain process can link to a dep's file: who edits the out may not change the dep."""
    make_out(work, "new")
    os.link(key, work / OUT / "sub/linked")
    take_over.take_over(work, OUT, tmp_path / "ready", copies=copies)
    out = tmp_path / "ready/sub/linked"
    assert out.read_text() == KEY
    assert not out.samefile(key)
    assert out.stat().st_nlink == 1


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("bit", [0o4000, 0o2000, 0o6000])
def test_no_program_of_a_stage_runs_as_the_user(tmp_path: Path, work: Path, copies: bool, bit: int) -> None:
    """Whoever else uses the machine could start it."""
    make_out(work, "new")
    (work / OUT / "a.txt").chmod(0o755 | bit)
    (work / OUT / "sub").chmod(0o2755)  # in a folder of a team new files get its group
    take_over.take_over(work, OUT, tmp_path / "ready", copies=copies)
    assert stat.S_IMODE((tmp_path / "ready/a.txt").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "ready/sub").stat().st_mode) == 0o2755


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("parts", [[], [0], [1 << 27], [0, 1 << 27], [3 << 20, (1 << 27) + 5]])
def test_what_a_file_claims_fills_no_disk(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, copies: bool, parts: list[int]
) -> None:
    """A few bytes in a file that claims 256 MB stay a few bytes: also on another disk, where nothing can be moved."""
    monkeypatch.setattr(take_over, "_moved", lambda *_: False)
    with (work / "big").open("wb") as file:
        for place in parts:
            file.seek(place)
            file.write(b"data")
        file.truncate(1 << 28)
    take_over.take_over(work, "big", tmp_path / "ready", copies=copies)
    found = (tmp_path / "ready").stat()
    assert found.st_size == 1 << 28
    assert found.st_blocks * 512 < 1 << 20
    with (tmp_path / "ready").open("rb") as file:
        for place in parts:
            file.seek(place)
            assert file.read(5) == b"data\0"
