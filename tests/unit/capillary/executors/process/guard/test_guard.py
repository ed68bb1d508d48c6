import ast
import dataclasses
import json
import sys
from pathlib import Path

import pytest

from capillary.executors.process.guard import Guard, Policy, UndeclaredAccess
from capillary.executors.sandbox import GUARD


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
    "{root}/stages/other.py": "stages/other.py",
    "stages/other.py": "stages/other.py",
    "{root}/.capillary/sandbox/toy-2/x": ".capillary/sandbox/toy-2/x",
    "{root}": ". (the whole project)",
    "../../../../../../world/x.txt": "{world}/x.txt",
    "../world/x.txt": "../world/x.txt",
    "{world}/x.txt": "{world}/x.txt",
    "{home}/x.txt": "{home}/x.txt",
    "{home}": "{home}",
    "/tmp/else.csv": "/tmp/else.csv",
    "/usrx/else.csv": "/usrx/else.csv",
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


def test_a_refusal_shows_what_a_name_hides(guard: Guard, places: dict[str, Path]) -> None:
    """The name of a file that a stage reached for goes to the terminal."""
    with pytest.raises(UndeclaredAccess):
        guard.check_read(str(places["root"] / "data/a\x1b[2K\u202eb"))
    assert list(guard.refused()) == ["toy@a may not read data/a\\x1b[2K\\u202eb"]


def test_the_project_is_known_under_another_name(guard: Guard, places: dict[str, Path], tmp_path: Path) -> None:
    """Through a link to the workspace nothing more can be read, and nothing less."""
    (tmp_path / "alias").symlink_to(places["root"])
    guard.check_read(tmp_path / "alias/data/in.txt")
    with pytest.raises(UndeclaredAccess):
        guard.check_read(tmp_path / "alias/data/other.txt")


def test_a_link_gives_what_it_leads_to_where_the_stage_could_not_have_made_it(
    guard: Guard, places: dict[str, Path]
) -> None:
    """A user's own links in a folder of stacks, to other disks and in the project; not those in outs and elsewhere."""
    root, world = places["root"], places["world"]
    for folder, name in ((root / "data/raw", "declared"), (places["work"] / "data/out", "made"), (world, "elsewhere")):
        (folder / f"{name}.txt").symlink_to(world / "x.txt")
        (folder / f"{name}").symlink_to(root / "data/former")
    guard.check_read("data/raw/declared.txt")
    guard.check_read("data/raw/declared/x")
    for path in ("data/out/made.txt", "data/out/made/x", world / "elsewhere.txt", world / "elsewhere/x"):
        with pytest.raises(UndeclaredAccess):
            guard.check_read(path)
    with pytest.raises(UndeclaredAccess):
        guard.check_read("data/raw/declared/../other.txt")


def test_a_system_s_link_does_not_lead_into_the_project(policy: Policy, places: dict[str, Path]) -> None:
    """/opt/app may be one to the checkout, and to a library on another disk."""
    system = places["home"] / "opt"
    system.mkdir()
    (system / "app").symlink_to(places["root"])
    (system / "library").symlink_to(places["world"])
    guard = Guard(dataclasses.replace(policy, readable=(*policy.readable, str(system))))
    guard.check_read(system / "library/x.txt")
    guard.check_read(system / "app/data/in.txt")
    with pytest.raises(
        UndeclaredAccess, match=r"may not read .*/app/data/other\.txt \(which leads to data/other\.txt\)"
    ):
        guard.check_read(system / "app/data/other.txt")


def test_a_folder_that_was_read_from_is_looked_at_again_where_a_link_is_in_it(
    policy: Policy, places: dict[str, Path]
) -> None:
    """What is remembered about folders saves time, and gives nothing away."""
    system = places["home"] / "opt"
    system.mkdir()
    (system / "plain.txt").touch()
    guard = Guard(dataclasses.replace(policy, readable=(*policy.readable, str(system))))
    guard.check_read(system / "plain.txt")
    assert str(system) in guard._open_folders
    (system / "link.txt").symlink_to(places["root"] / "data/other.txt")
    for path in (system / "link.txt", f"{system}/.."):
        with pytest.raises(UndeclaredAccess):
            guard.check_read(path)


def test_a_chain_of_links_without_an_end_is_no_way(guard: Guard, places: dict[str, Path]) -> None:
    """The kernel refuses it in its own words."""
    (places["tmp"] / "loop").symlink_to("loop")
    guard.check_read(places["tmp"] / "loop")
    with pytest.raises(OSError, match="symbolic links"):
        (places["tmp"] / "loop").read_text()


def test_a_project_below_the_interpreter_or_the_system_is_guarded_all_the_same(
    policy: Policy, places: dict[str, Path]
) -> None:
    """A container's /usr/src/app is below sys.prefix: the inner folder decides."""
    guard = Guard(dataclasses.replace(policy, readable=(*policy.readable, str(places["root"].parent))))
    guard.check_read(places["world"] / "x.txt")
    guard.check_read(places["root"] / "data/in.txt")
    with pytest.raises(UndeclaredAccess):
        guard.check_read(places["root"] / "data/other.txt")


def test_a_project_in_a_hidden_folder_of_home_is_guarded_all_the_same(policy: Policy, tmp_path: Path) -> None:
    """The user's settings stay readable; of the project only what is declared is."""
    project = tmp_path / "home/.work/project"
    guard = Guard(dataclasses.replace(policy, forbidden=(str(project),)))
    guard.check_read(tmp_path / "home/.work/settings.toml")
    with pytest.raises(UndeclaredAccess, match=r"may not read x\.txt"):
        guard.check_read(project / "x.txt")


def test_a_package_installed_in_place_can_be_imported(guard: Guard, tmp_path: Path) -> None:
    """pip install -e of a library leaves its files where they are; a data folder is not a package."""
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
    "data/.out": "data/.out",
    ".out.1.tmp": ".out.1.tmp",
    "stray.txt": "stray.txt",
    "params.yaml": "params.yaml",
    "{base}/policy.json": "../../policy.json",
    "{home}/.cache/x": "{home}/.cache/x",
    "{world}/x.txt": "{world}/x.txt",
    "/usr/lib/x": "/usr/lib/x",
    "{tmp}more/x": "{tmp}more/x",
    "/develop/x": "/develop/x",
    "/proc/1/comm": "/proc/1/comm",
    "data/out/../in.txt": "data/in.txt",
}


@pytest.mark.parametrize("path", WRITABLE)
@pytest.mark.parametrize("follow", [False, True])
def test_what_is_declared_can_be_written(guard: Guard, places: dict[str, Path], path: str, follow: bool) -> None:
    """Outs, hidden temporary files next to them, the temporary and the state folder, devices."""
    guard.check_write(path.format(**places), follow_link=follow)
    assert guard.refused() == {}


@pytest.mark.parametrize("path", NOT_WRITABLE)
@pytest.mark.parametrize("follow", [False, True])
def test_what_is_not_declared_cannot_be_written(guard: Guard, places: dict[str, Path], path: str, follow: bool) -> None:
    """Deps by link and by real path, neighbours of outs, the sandbox itself and the rest of the machine."""
    with pytest.raises(UndeclaredAccess, match="may not write") as caught:
        guard.check_write(path.format(**places), follow_link=follow)
    assert f"may not write {NOT_WRITABLE[path].format(**places)}: " in str(caught.value)


def test_a_link_in_an_out_does_not_lead_out_of_it(guard: Guard, places: dict[str, Path]) -> None:
    """Such a link may be made and removed, but not written through: a dep may lie behind it."""
    for name, target in (("file", places["root"] / "data/in.txt"), ("folder", places["root"] / "data/raw")):
        Path("data/out", name).symlink_to(target)
    guard.check_write("data/out/file")
    guard.check_write("data/out/folder")
    for path in ("data/out/file", "data/out/folder", "data/out/folder/a.tif"):
        with pytest.raises(UndeclaredAccess):
            guard.check_write(path, follow_link=True)
    with pytest.raises(UndeclaredAccess):
        guard.check_write("data/out/folder/a.tif")


def test_a_folder_that_is_there_may_be_asked_for(guard: Guard) -> None:
    """`Path(out).parent.mkdir(parents=True, exist_ok=True)` changes nothing; a new folder has to be declared."""
    guard.check_mkdir("data")
    guard.check_mkdir("data/raw")
    guard.check_mkdir("data/out/new")
    with pytest.raises(UndeclaredAccess):
        guard.check_mkdir("data/new")
    assert list(guard.refused()) == ["toy@a may not write data/new"]


def test_bytecode_beside_the_checkout_s_source_is_no_refusal(guard: Guard, places: dict[str, Path]) -> None:
    """Python looks for it at each import, finds none in the sandbox and compiles the source."""
    (places["root"] / "data" / "module.pyc").touch()
    guard.check_read("data/module.pyc")
    assert guard.refused() == {}
    with pytest.raises(UndeclaredAccess):
        guard.check_read("data/other.txt")


def test_the_guard_imports_the_standard_library_alone() -> None:
    """It runs in the stage's environment, where nothing else is sure to be there; its own modules by relative names."""
    for file in GUARD.glob("*.py"):
        tree = ast.parse(file.read_text())
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        assert {name.split(".")[0] for name in modules} <= sys.stdlib_module_names, file
