import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from capillary.publishing.publish import check_scratch
from stages.common.errors import CapillaryError, ExitCode

NOBODY = 65534


def make_out(folder: Path, text: str) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_text(text)


def check(work: Path, *outs: str) -> None:
    check_scratch(work, outs or ("data/out",), {work / "data/in.txt"}, "toy")


def test_a_working_folder_with_whole_outs_passes(work: Path) -> None:
    """Params, links to deps, empty folders and hidden temporary files next to an out are no fault."""
    make_out(work / "data/out", "new")
    (work / "data/.out.123.tmp").touch()
    (work / "empty").mkdir()
    check(work)


@pytest.mark.parametrize("outs", [("data/out",), ("data/there", "data/out")])
def test_a_missing_out_is_named(work: Path, outs: tuple[str, ...]) -> None:
    """A stage that ends with 0 has to have made all of them."""
    (work / "data/there").touch()
    with pytest.raises(CapillaryError, match="ended without writing its out data/out") as caught:
        check(work, *outs)
    assert (caught.value.file, caught.value.code) == ("data/out", ExitCode.UNEXPECTED)


@pytest.mark.parametrize(
    "name",
    [
        *("stray.pt", "data/stray.pt", "data/in.txt.bak", "made/deep/x"),
        *("data/.out", "data/.outer.1.tmp", ".out.1.tmp", "made/.out.1.tmp", "data/params.yaml"),
    ],
)
def test_a_file_that_is_not_declared_is_named(work: Path, name: str) -> None:
    """It would vanish with the sandbox; the guard does not see those that C code or other programs write."""
    make_out(work / "data/out", "new")
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    (work / name).touch()
    with pytest.raises(CapillaryError, match="does not declare") as caught:
        check(work)
    assert caught.value.file == name
    assert caught.value.code == ExitCode.UNDECLARED


def test_few_strays_are_named(work: Path) -> None:
    """The first five, in order."""
    make_out(work / "data/out", "new")
    for number in range(6):
        (work / f"{number}.txt").touch()
    with pytest.raises(CapillaryError) as caught:
        check(work)
    assert caught.value.file == "0.txt, 1.txt, 2.txt, 3.txt, 4.txt"


def test_an_out_below_another_s_name_is_its_own(work: Path) -> None:
    """`data/out` and `data/out.json` are two outs; neither covers the other."""
    make_out(work / "data/out", "new")
    (work / "data/out.json").touch()
    (work / "data/.out.json.1.tmp").touch()
    check(work, "data/out", "data/out.json")
    with pytest.raises(CapillaryError, match="does not declare"):
        check(work)


def test_a_link_that_is_not_declared_is_named(work: Path) -> None:
    """To a file or to a folder."""
    make_out(work / "data/out", "new")
    (work / "folder").symlink_to("/usr")
    (work / "data/file").symlink_to("/etc/hosts")
    with pytest.raises(CapillaryError) as caught:
        check(work)
    assert caught.value.file == "data/file, folder"


@pytest.mark.parametrize("name", ["data/out", "data/out/x", "data/out/sub/x"])
@pytest.mark.parametrize(
    "target",
    [
        "{home}/.ssh/id_rsa",
        "{home}/.ssh",
        "{work}/data/in.txt",
        "{work}/data",
        "sub/a.txt",
        "..",
        "/etc/passwd",
        "nowhere",
    ],
)
def test_a_link_in_an_out_is_refused_by_name(work: Path, tmp_path: Path, name: str, target: str) -> None:
    """To whatever: it would be read, cached and pushed as a result, or be broken a moment later."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_rsa").write_text("a key")
    if name != "data/out":
        make_out(work / "data/out", "new")
    target = target.format(home=tmp_path, work=work)
    (work / name).symlink_to(target)
    with pytest.raises(CapillaryError, match=r"the out data/out of toy (is|holds) a link") as caught:
        check(work)
    assert str(caught.value.file) == name.removeprefix("data/out/").replace("data/out", "out")
    assert (caught.value.value, caught.value.code) == (target, ExitCode.UNDECLARED)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_special_file_in_an_out_is_refused_by_name(work: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Whoever reads a pipe waits for ever."""
    make_out(work / "data/out", "new")
    monkeypatch.chdir(work / "data/out/sub")  # a socket's path is short
    if kind == "pipe":
        os.mkfifo("x")
    else:
        socket.socket(socket.AF_UNIX).bind("x")
    with pytest.raises(CapillaryError, match=f"the out data/out of toy holds a {kind}") as caught:
        check(work)
    assert str(caught.value.file) == "sub/x"


@pytest.mark.parametrize("place", ["data/out/sub", "elsewhere"])
@pytest.mark.parametrize("mode", [0o000, 0o111, 0o311])
def test_a_folder_that_cannot_be_listed_is_refused(place: str, mode: int) -> None:
    """It may hold a link, which whoever knows its name can follow. No mode keeps root out."""
    with tempfile.TemporaryDirectory() as folder, temporary_user(Path(folder)):
        work = Path(folder, "work")
        make_out(work / "data/out", "new")
        (work / place).mkdir(exist_ok=True)
        (work / place / "id_rsa").symlink_to("/etc/hostname")
        (work / place).chmod(mode)
        try:
            with pytest.raises(CapillaryError, match="cannot be looked into") as caught:
                check(work)
        finally:
            (work / place).chmod(0o755)
    assert (caught.value.file, caught.value.code) == (str(work / place), ExitCode.UNDECLARED)


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o044])
def test_a_file_that_cannot_be_read_is_refused(mode: int) -> None:
    """DVC would end with an error at it, after it took the former out's place. No mode keeps root out."""
    with tempfile.TemporaryDirectory() as folder, temporary_user(Path(folder)):
        work = Path(folder, "work")
        make_out(work / "data/out", "new")
        (work / "data/out/sub/a.txt").chmod(mode)
        with pytest.raises(CapillaryError, match="the out data/out of toy holds a file that cannot be read") as caught:
            check(work)
    assert str(caught.value.file) == "sub/a.txt"


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_name_that_is_not_text_is_refused(work: Path, is_folder: bool) -> None:
    """DVC would end with "surrogates not allowed", after it took the former out's place."""
    make_out(work / "data/out", "new")
    place = work / os.fsdecode(b"data/out/sub/\xff")
    place.mkdir() if is_folder else place.touch()
    with pytest.raises(CapillaryError, match="the out data/out of toy holds a name that is not UTF-8"):
        check(work)


@contextlib.contextmanager
def temporary_user(folder: Path) -> Iterator[None]:
    """In the block root is nobody, who owns `folder`; another user stays who they are."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, NOBODY, -1)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
