import dataclasses
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from capillary.executors.process.guard import Guard, Policy, UndeclaredAccess

Args = tuple[object, ...]


@pytest.fixture
def writable_folder(places: dict[str, Path]) -> Iterator[int]:
    """The stage's temporary folder, open."""
    number = os.open(places["tmp"], os.O_RDONLY)
    yield number
    os.close(number)


@pytest.fixture
def dep_folder(places: dict[str, Path]) -> Iterator[int]:
    """The folder of a dep, open."""
    number = os.open(places["root"] / "data/raw", os.O_RDONLY)
    yield number
    os.close(number)


def fill(args: Args, places: dict[str, Path]) -> Args:
    return tuple(arg.format(**places) if isinstance(arg, str) else arg for arg in args)


def test_removal_relative_to_an_open_folder_is_judged_by_that_folder(
    guard: Guard, writable_folder: int, dep_folder: int
) -> None:
    """shutil.rmtree works so; a name alone says nothing."""
    guard.hook("os.remove", ("in.txt", writable_folder))
    guard.hook("os.rmdir", ("data", writable_folder))
    for event in ("os.remove", "os.rmdir"):
        with pytest.raises(UndeclaredAccess):
            guard.hook(event, ("a.tif", dep_folder))
    with pytest.raises(UndeclaredAccess):
        guard.hook("os.rename", ("a.tif", "moved", dep_folder, writable_folder))


# what Python describes each change to a name in an open folder
CHANGES: dict[str, tuple[str, Callable[[str, int], Args]]] = {
    "remove": ("os.remove", lambda name, folder: (name, folder)),
    "rmdir": ("os.rmdir", lambda name, folder: (name, folder)),
    "mkdir": ("os.mkdir", lambda name, folder: (name, 0o777, folder)),
    "chmod": ("os.chmod", lambda name, folder: (name, 0o600, folder)),
    "chown": ("os.chown", lambda name, folder: (name, 0, 0, folder)),
    "utime": ("os.utime", lambda name, folder: (name, None, None, folder)),
    "symlink": ("os.symlink", lambda name, folder: ("/usr", name, folder)),
    "rename from": ("os.rename", lambda name, folder: (name, "data/out/x", folder, -1)),
    "rename to": ("os.rename", lambda name, folder: ("data/out/x", name, -1, folder)),
    "link from": ("os.link", lambda name, folder: (name, "data/out/x", folder, -1)),
    "link to": ("os.link", lambda name, folder: ("data/out/x", name, -1, folder)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_relative_name_starts_from_the_open_folder(
    guard: Guard, change: str, writable_folder: int, dep_folder: int
) -> None:
    """From the working folder the first name would be no out, and the second one would be."""
    event, args = CHANGES[change]
    guard.hook(event, args("new", writable_folder))
    assert guard.refused() == {}
    with pytest.raises(UndeclaredAccess):
        guard.hook(event, args("data/out/new", dep_folder))


@pytest.mark.parametrize(
    ("event", "more"),
    [
        ("open", ("w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)),
        ("os.truncate", (0,)),
        ("os.chmod", (0o777, -1)),
        ("os.chown", (0, 0, -1)),
        ("os.utime", (None, None, -1)),
    ],
)
def test_a_change_through_a_link_is_judged_by_what_the_link_leads_to(
    guard: Guard, places: dict[str, Path], event: str, more: Args
) -> None:
    """A link in an out must not change the dep behind it."""
    Path("data/out/link").symlink_to(places["root"] / "data/in.txt")
    Path("data/out/own").symlink_to("a.npy")
    guard.hook(event, ("data/out/own", *more))
    with pytest.raises(UndeclaredAccess, match="may not write data/out/link"):
        guard.hook(event, ("data/out/link", *more))


@pytest.mark.parametrize(
    ("event", "args"),
    [
        ("os.remove", ("data/out/link", -1)),
        ("os.rename", ("data/out/link", "data/out/moved", -1, -1)),
        ("os.link", ("data/out/link", "data/out/second", -1, -1)),
    ],
)
def test_a_link_itself_may_be_changed(guard: Guard, places: dict[str, Path], event: str, args: Args) -> None:
    """These touch the link, not the dep behind it."""
    Path("data/out/link").symlink_to(places["root"] / "data/in.txt")
    guard.hook(event, args)
    assert guard.refused() == {}


@pytest.mark.parametrize("flag", ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"])
def test_each_flag_that_can_change_a_file_counts_as_writing(guard: Guard, flag: str) -> None:
    """os.open takes them one by one."""
    with pytest.raises(UndeclaredAccess, match=r"may not write data/in\.txt"):
        guard.hook("open", ("data/in.txt", None, getattr(os, flag)))


@pytest.mark.parametrize(
    ("event", "args"),
    [
        ("open", ("data/in.txt", "w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)),
        ("open", ("data/in.txt", "r+", os.O_RDWR)),
        ("open", ("data/in.txt", None, os.O_WRONLY)),
        ("open", ("data/other.txt", "r", os.O_RDONLY)),
        ("open", ("data/other.txt", "r", None)),
        ("open", ("{root}/data/other.txt", None, os.O_RDONLY)),
        ("open", (b"/tmp/else.csv", None, os.O_RDONLY)),
        ("os.listdir", ("{root}",)),
        ("os.scandir", ("{root}/data",)),
        ("os.remove", ("data/in.txt", -1)),
        ("os.rmdir", ("data/raw", -1)),
        ("os.mkdir", ("data/new", 0o777, -1)),
        ("os.rename", ("data/out/a", "data/in.txt", -1, -1)),
        ("os.rename", ("data/in.txt", "data/out/a", -1, -1)),
        ("os.link", ("data/in.txt", "data/out/a", -1, -1)),
        ("os.link", ("data/out/a", "data/b", -1, -1)),
        ("os.symlink", ("data/in.txt", "data/a", -1)),
        ("os.truncate", ("data/in.txt", 0)),
        ("os.chmod", ("data/in.txt", 0o777, -1)),
        ("os.chown", ("data/in.txt", 0, 0, -1)),
        ("os.utime", ("data/in.txt", None, None, -1)),
        ("sqlite3.connect", ("{root}/data/other.txt",)),
    ],
)
def test_every_way_to_a_file_is_watched(guard: Guard, places: dict[str, Path], event: str, args: Args) -> None:
    """The arguments are those with which Python raises the event."""
    with pytest.raises(UndeclaredAccess):
        guard.hook(event, fill(args, places))


@pytest.mark.parametrize(
    ("event", "args"),
    [
        ("open", ("data/in.txt", "r", os.O_RDONLY)),
        ("open", (3, "w", os.O_WRONLY)),
        ("open", (3, "r", os.O_RDONLY)),
        ("open", ("data", None, os.O_RDONLY)),  # relative to a folder that the event does not tell
        ("open", ("data/other.txt", None, os.O_RDONLY)),
        ("open", ("data/out/a", "w", os.O_WRONLY | os.O_CREAT)),
        ("os.listdir", (None,)),
        ("os.scandir", (7,)),
        ("os.symlink", ("{root}/data/in.txt", "data/out/a", -1)),
        ("sqlite3.connect", (":memory:",)),
        ("sqlite3.connect", ("",)),
        ("sqlite3.connect", ("file:runs?mode=memory",)),
        ("sqlite3.connect", ("data/out/a.db",)),
        ("import", ("os", None, None, None, None)),
    ],
)
def test_what_a_stage_may_do_passes(guard: Guard, places: dict[str, Path], event: str, args: Args) -> None:
    """Numbers of open files were judged when they were opened."""
    guard.hook(event, fill(args, places))
    assert guard.refused() == {}


@pytest.mark.parametrize("database", [":memory:", "", "file:runs?mode=memory"])
def test_a_database_that_is_no_file_has_no_place(
    guard: Guard, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """It may be opened wherever the stage stands, also in a folder that it may not see."""
    monkeypatch.chdir(places["root"])
    guard.hook("sqlite3.connect", (database,))
    assert guard.refused() == {}
    with pytest.raises(UndeclaredAccess):
        guard.hook("sqlite3.connect", ("runs.db",))


@pytest.mark.usefixtures("guard")
def test_what_was_refused_is_for_the_user_alone(policy: Policy) -> None:
    """Names of files may be secrets."""
    assert stat.S_IMODE(Path(policy.record).stat().st_mode) == 0o600


@pytest.mark.parametrize("network", ["none", "source", "tracking"])
def test_connections_are_refused_where_the_plan_gives_none(policy: Policy, network: str) -> None:
    """Sockets between processes are no network."""
    guard = Guard(dataclasses.replace(policy, network=network))
    with socket.socket(socket.AF_INET) as inet, socket.socket(socket.AF_UNIX) as unix:
        guard.hook("socket.connect", (unix, "/tmp/x"))
        if network == "none":
            with pytest.raises(UndeclaredAccess, match=r"connect to \('127\.0\.0\.1', 9\)"):
                guard.hook("socket.connect", (inet, ("127.0.0.1", 9)))
        else:
            guard.hook("socket.connect", (inet, ("127.0.0.1", 9)))
            assert guard.refused() == {}


@pytest.mark.parametrize("event", ["socket.connect", "socket.sendto"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_VSOCK", 40)])
def test_every_kind_of_network_is_refused(guard: Guard, event: str, family: int) -> None:
    """IPv6 as well as IPv4, with a connection or without; this machine may lack some of them."""
    with pytest.raises(UndeclaredAccess, match=r"connect to \('::1', 9, 0, 0\)"):
        guard.hook(event, (SimpleNamespace(family=family), ("::1", 9, 0, 0)))
