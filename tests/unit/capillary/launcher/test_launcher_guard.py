import dataclasses
import json
import os
import pickle
import socket
from pathlib import Path

import pytest

from capillary.launcher import guard as guarding
from capillary.launcher.guard import Guard, Policy, UndeclaredAccess


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A workspace with an interpreter inside, a sandbox in it with linked deps, and the world around."""
    root = tmp_path / "project"
    work = root / ".capillary/sandbox/toy-1/files/project"
    places = {
        "root": root,
        "work": work,
        "base": root / ".capillary/sandbox/toy-1",
        "tmp": tmp_path / "tmp",
        "state": root / ".capillary/state/toy",
        "home": tmp_path / "home",
        "world": tmp_path / "world",
    }
    files = ("data/in.txt", "data/raw/a.tif", "data/raw/sub/b.tif", "data/other.txt", "data/former/x", ".venv/m.py")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for folder in ("tmp", "state", "home", "world"):
        places[folder].mkdir(parents=True)
        (places[folder] / "x.txt").touch()
    (work / "data/out").mkdir(parents=True)
    for name in ("data/in.txt", "data/raw"):
        (work / name).symlink_to(root / name)
    (work / "params.yaml").touch()
    return places


@pytest.fixture
def policy(places: dict[str, Path], tmp_path: Path) -> Policy:
    root, work = places["root"], places["work"]
    return Policy(
        address="toy@a",
        launcher_pid=os.getpid(),
        network="none",
        base=str(places["base"]),
        work=str(work),
        home=str(places["home"]),
        forbidden=(str(root),),
        readable=("/usr", "/etc", str(root / ".venv"), str(root / "data/in.txt"), str(root / "data/raw")),
        writable=(str(places["tmp"]), str(places["state"])),
        outs=(str(work / "data/out"), str(work / "data/former")),
        record=str(tmp_path / "refused.jsonl"),
    )


@pytest.fixture
def guard(policy: Policy, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Guard:
    monkeypatch.chdir(places["work"])
    return Guard(policy)


def test_a_policy_comes_back_from_its_file_as_it_was(policy: Policy, tmp_path: Path) -> None:
    """The launcher writes it, the stage's process reads it."""
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(dataclasses.asdict(policy)))
    assert Policy.load(str(file)) == policy


READABLE = [
    "data/in.txt",
    "data/raw/sub/b.tif",
    "{root}/data/in.txt",
    "{root}/data/raw/a.tif",
    "data/raw",
    "data/out",
    "data/out/missing.txt",
    "data/former/x",
    "params.yaml",
    "missing.txt",
    ".",
    "..",
    "{tmp}/x.txt",
    "{state}/x.txt",
    "{root}/.venv/m.py",
    "/usr/lib",
    "/etc/hosts",
    "{home}/.netrc",
    "{home}/.cache/x",
    "/elsewhere/module.py",
    "/elsewhere/module.cpython-311-x86_64-linux-gnu.so",
]
UNDECLARED = {
    "data/other.txt": "data/other.txt",
    "./data/../data/other.txt": "data/other.txt",
    "data/raw/../other.txt": "data/other.txt",
    "{root}/data/other.txt": "data/other.txt",
    "{root}/data": "data",
    "{root}/data/rawness": "data/rawness",
    "{root}/.git/config": ".git/config",
    "{root}": ". (the whole project)",
    "../../../../../../world/x.txt": "{world}/x.txt",
    "../world/x.txt": "../world/x.txt",
    "{world}/x.txt": "{world}/x.txt",
    "{home}/x.txt": "{home}/x.txt",
    "{home}": "{home}",
    "/tmp/else.csv": "/tmp/else.csv",
    "/": "/",
}


@pytest.mark.parametrize("path", READABLE)
def test_what_is_declared_can_be_read(guard: Guard, places: dict[str, Path], path: str) -> None:
    """Deps by link and by real path, own outs, temporary and state folders, interpreter, system, settings in home."""
    guard.check_read(path.format(**places))
    guard.check_read(path.format(**places).encode())
    guard.check_read(Path(path.format(**places)))
    assert guard.refused() == {}


@pytest.mark.parametrize("path", UNDECLARED)
def test_what_is_not_declared_cannot_be_read(guard: Guard, places: dict[str, Path], path: str) -> None:
    """In the project or elsewhere, the message has the name that the user knows."""
    name = UNDECLARED[path].format(**places)
    with pytest.raises(UndeclaredAccess) as caught:
        guard.check_read(path.format(**places))
    assert str(caught.value).startswith(f"toy@a may not read {name}: ")
    assert list(guard.refused()) == [f"toy@a may not read {name}"]


def test_the_project_is_known_under_another_name(guard: Guard, places: dict[str, Path], tmp_path: Path) -> None:
    """Through a link to the workspace nothing more can be read, and nothing less."""
    (tmp_path / "alias").symlink_to(places["root"])
    guard.check_read(tmp_path / "alias/data/in.txt")
    with pytest.raises(UndeclaredAccess):
        guard.check_read(tmp_path / "alias/data/other.txt")


def test_a_project_below_the_interpreter_or_the_system_is_guarded_all_the_same(
    policy: Policy, places: dict[str, Path]
) -> None:
    """A container's /usr/src/app lies below sys.prefix: the inner folder decides."""
    guard = Guard(dataclasses.replace(policy, readable=(*policy.readable, str(places["root"].parent))))
    guard.check_read(places["world"] / "x.txt")
    guard.check_read(places["root"] / "data/in.txt")
    with pytest.raises(UndeclaredAccess):
        guard.check_read(places["root"] / "data/other.txt")


def test_a_package_installed_in_place_can_be_imported(guard: Guard, tmp_path: Path) -> None:
    """pip install -e of a library leaves its files where they are; a data folder is no package."""
    package = tmp_path / "library" / "deep"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    for path in (package, package / "table.csv", package.parent):
        guard.check_read(path)
    with pytest.raises(UndeclaredAccess):
        guard.check_read(tmp_path / "stacks" / "table.csv")


WRITABLE = [
    "data/out",
    "data/out/a.npy",
    "data/out/deep/er/a.npy",
    "data/.out.123.tmp",
    "data/former",
    "{work}/data/out/a.npy",
    "{tmp}/a",
    "{tmp}",
    "{state}/checkpoint.pt",
    "/dev/null",
    "/proc/self/comm",
]
NOT_WRITABLE = {
    "data/in.txt": "data/in.txt",
    "data/raw/a.tif": "data/raw/a.tif",
    "data/raw/new.tif": "data/raw/new.tif",
    "{root}/data/in.txt": "data/in.txt",
    "{root}/data/out/a.npy": "data/out/a.npy",
    "data/stray.txt": "data/stray.txt",
    "data/outer": "data/outer",
    "data/.other.1.tmp": "data/.other.1.tmp",
    "stray.txt": "stray.txt",
    "params.yaml": "params.yaml",
    "{base}/policy.json": "../../policy.json",
    "{home}/.cache/x": "{home}/.cache/x",
    "{world}/x.txt": "{world}/x.txt",
    "/usr/lib/x": "/usr/lib/x",
    "data/out/../in.txt": "data/in.txt",
}


@pytest.mark.parametrize("path", WRITABLE)
@pytest.mark.parametrize("follow", [False, True])
def test_what_is_declared_can_be_written(guard: Guard, places: dict[str, Path], path: str, follow: bool) -> None:
    """Outs, hidden temporary files beside them, the temporary and the state folder, devices."""
    guard.check_write(path.format(**places), follow=follow)
    assert guard.refused() == {}


@pytest.mark.parametrize("path", NOT_WRITABLE)
@pytest.mark.parametrize("follow", [False, True])
def test_what_is_not_declared_cannot_be_written(guard: Guard, places: dict[str, Path], path: str, follow: bool) -> None:
    """Deps by link and by real path, neighbours of outs, the sandbox itself and the rest of the machine."""
    with pytest.raises(UndeclaredAccess, match="may not write") as caught:
        guard.check_write(path.format(**places), follow=follow)
    assert f"may not write {NOT_WRITABLE[path].format(**places)}: " in str(caught.value)


def test_a_link_in_an_out_does_not_lead_out_of_it(guard: Guard, places: dict[str, Path]) -> None:
    """Such a link may be made and removed, but not written through: a dep may lie behind it."""
    for name, target in (("file", places["root"] / "data/in.txt"), ("folder", places["root"] / "data/raw")):
        Path("data/out", name).symlink_to(target)
    guard.check_write("data/out/file")
    guard.check_write("data/out/folder")
    for path in ("data/out/file", "data/out/folder", "data/out/folder/a.tif"):
        with pytest.raises(UndeclaredAccess):
            guard.check_write(path, follow=True)
    with pytest.raises(UndeclaredAccess):
        guard.check_write("data/out/folder/a.tif")


def test_a_folder_that_is_there_may_be_asked_for(guard: Guard) -> None:
    """`Path(out).parent.mkdir(parents=True, exist_ok=True)` changes nothing; a new folder has to be declared."""
    guard.check_mkdir("data")
    guard.check_mkdir("data/raw")
    guard.check_mkdir("data/out/new")
    with pytest.raises(UndeclaredAccess):
        guard.check_mkdir("data/new")


def test_removal_relative_to_an_open_folder_is_judged_by_that_folder(guard: Guard, places: dict[str, Path]) -> None:
    """shutil.rmtree works so; a name alone says nothing."""
    inner = os.open(places["tmp"], os.O_RDONLY)
    dep = os.open(places["root"] / "data/raw", os.O_RDONLY)
    try:
        guard.hook("os.remove", ("in.txt", inner))
        guard.hook("os.rmdir", ("data", inner))
        for event in ("os.remove", "os.rmdir"):
            with pytest.raises(UndeclaredAccess):
                guard.hook(event, ("a.tif", dep))
        with pytest.raises(UndeclaredAccess):
            guard.hook("os.rename", ("a.tif", "moved", dep, inner))
    finally:
        os.close(inner)
        os.close(dep)


@pytest.mark.parametrize(
    ("event", "args"),
    [
        ("open", ("data/in.txt", "w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)),
        ("open", ("data/in.txt", "r+", os.O_RDWR)),
        ("open", ("data/in.txt", None, os.O_WRONLY)),
        ("open", ("data/other.txt", "r", os.O_RDONLY)),
        ("os.listdir", ("{root}",)),
        ("os.scandir", ("{root}/data",)),
        ("os.remove", ("data/in.txt", -1)),
        ("os.rmdir", ("data/raw", -1)),
        ("os.mkdir", ("data/new", 0o777, -1)),
        ("os.rename", ("data/out/a", "data/in.txt", -1, -1)),
        ("os.rename", ("data/in.txt", "data/out/a", -1, -1)),
        ("os.link", ("data/in.txt", "data/out/a", -1, -1)),
        ("os.symlink", ("data/in.txt", "data/a", -1)),
        ("os.truncate", ("data/in.txt", 0)),
        ("os.chmod", ("data/in.txt", 0o777, -1)),
        ("os.chown", ("data/in.txt", 0, 0, -1)),
        ("os.utime", ("data/in.txt", None, None, -1)),
        ("sqlite3.connect", ("{root}/data/other.txt",)),
    ],
)
def test_every_way_to_a_file_is_watched(
    guard: Guard, places: dict[str, Path], event: str, args: tuple[object, ...]
) -> None:
    """The arguments are those with which Python raises the event."""
    args = tuple(arg.format(**places) if isinstance(arg, str) else arg for arg in args)
    with pytest.raises(UndeclaredAccess):
        guard.hook(event, args)


@pytest.mark.parametrize(
    ("event", "args"),
    [
        ("open", ("data/in.txt", "r", os.O_RDONLY)),
        ("open", (3, "w", os.O_WRONLY)),
        ("open", ("data", None, os.O_RDONLY)),  # relative to a folder that the event does not tell
        ("open", ("data/out/a", "w", os.O_WRONLY | os.O_CREAT)),
        ("os.listdir", (None,)),
        ("os.scandir", (7,)),
        ("os.symlink", ("{root}/data/in.txt", "data/out/a", -1)),
        ("sqlite3.connect", (":memory:",)),
        ("sqlite3.connect", ("data/out/a.db",)),
        ("import", ("os", None, None, None, None)),
    ],
)
def test_what_a_stage_may_do_passes(
    guard: Guard, places: dict[str, Path], event: str, args: tuple[object, ...]
) -> None:
    """Numbers of open files were judged when they were opened."""
    guard.hook(event, tuple(arg.format(**places) if isinstance(arg, str) else arg for arg in args))
    assert guard.refused() == {}


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


def test_a_refusal_crosses_to_another_process() -> None:
    """Worker processes send their exceptions by pickle; the guard's module is not importable where they arrive."""
    error = pickle.loads(pickle.dumps(UndeclaredAccess("toy may not read x")))
    assert type(error) is PermissionError
    assert str(error) == "toy may not read x"


def test_the_report_names_each_refusal_once_with_its_line_of_code(guard: Guard, places: dict[str, Path]) -> None:
    """The line is the stage's own, however deep in libraries the file was opened."""
    source = f"\n\ndef read(check):\n    check({str(places['root'] / 'data/other.txt')!r})\n"
    space: dict[str, object] = {}
    exec(compile(source, str(places["work"] / "stages/toy/work.py"), "exec"), space)
    for _ in range(2):
        with pytest.raises(UndeclaredAccess):
            space["read"](guard.check_read)  # type: ignore[operator]  # a function, made above
    assert guard.refused() == {"toy@a may not read data/other.txt": " (stages/toy/work.py:4)"}
    report = guard.report(guard.refused())
    assert report.count("may not read data/other.txt (stages/toy/work.py:4)") == 1
    assert "stages.toy in dvc.yaml" in report


def fail(guard: Guard, path: str) -> None:
    guard.check_read(path)


def test_a_failure_that_comes_from_a_refusal_ends_with_its_own_code(
    guard: Guard, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when the stage or a library made another error of it."""
    try:
        try:
            fail(guard, "data/other.txt")
        except OSError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        with pytest.raises(SystemExit) as caught:
            guarding._explain(guard, error)
    assert caught.value.code == guarding.UNDECLARED_EXIT_CODE
    assert "may not read data/other.txt" in capsys.readouterr().err


def test_a_failure_of_another_kind_keeps_its_own_code(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    """A library tried a place and did without; the stage's own error is what the user must see."""
    with pytest.raises(UndeclaredAccess):
        fail(guard, "data/other.txt")
    guarding._explain(guard, SystemExit(4))
    err = capsys.readouterr().err
    assert err == "note: the stage was refused on its way: toy@a may not read data/other.txt\n"


@pytest.mark.parametrize("error", [SystemExit(130), SystemExit(143), KeyboardInterrupt()])
def test_a_stage_that_was_asked_to_stop_tells_of_no_refusals(
    guard: Guard, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    """They did not stop it."""
    with pytest.raises(UndeclaredAccess):
        fail(guard, "data/other.txt")
    guarding._explain(guard, error)
    assert capsys.readouterr().err == ""


def test_bytecode_beside_the_checkout_s_source_is_no_refusal(guard: Guard, places: dict[str, Path]) -> None:
    """Python looks for it at each import, finds none in the sandbox and compiles the source."""
    (places["root"] / "data" / "module.pyc").touch()
    guard.check_read("data/module.pyc")
    assert guard.refused() == {}
    with pytest.raises(UndeclaredAccess):
        guard.check_read("data/other.txt")


def test_the_guard_imports_the_standard_library_alone() -> None:
    """It runs in the stage's environment, where nothing else is sure to be there."""
    import ast
    import sys

    tree = ast.parse(Path(guarding.__file__).read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} <= sys.stdlib_module_names
