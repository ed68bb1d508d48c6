import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from capillary.dvc.graph import Entry
from stages.common.errors import CapillaryError, ExitCode, ParamsError
from tests.support.repository import start_dvc, start_repository

DVC_YAML = """
stages:
  toy:
    matrix: {item: [a, b]}
    cmd:
      - capillary stage check
      - capillary stage toy ${item.item}
    deps: [data/in.txt, 'https://example.org/x', ../beside]
    params: [toy.nested.deep, toy.rate]
    outs: ['data/${item.item}']
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "data/in.txt").write_text("in")
    (tmp_path / "beside").mkdir()
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "params.yaml").write_text("toy: {nested: {deep: [1, 2], other: 3}, rate: 1e-3}\nmore: 1\n")
    start_dvc(root)
    return root


def test_an_entry_is_resolved_as_dvc_resolves_it(root: Path) -> None:
    """Templates and matrix items are filled in; deps keep the names that dvc.yaml gives them."""
    entry = Entry(root, "toy@b")
    assert entry.commands == ["capillary stage check", "capillary stage toy b"]
    assert entry.deps == ["data/in.txt", "https://example.org/x", "../beside"]
    assert entry.outs == ["data/b"]
    assert entry.cache_dir == root / ".dvc/cache/files/md5"


def test_params_are_the_declared_ones_nested_as_in_the_file(root: Path) -> None:
    """Nothing else of params.yaml is visible, and 1e-3 is a number."""
    assert Entry(root, "toy@a").params() == {"toy": {"nested": {"deep": [1, 2]}, "rate": 0.001}}


def test_a_param_that_the_file_lacks_is_named(root: Path) -> None:
    """With the stage that wants it."""
    (root / "params.yaml").write_text("toy: {rate: 1}\n")
    with pytest.raises(ParamsError, match=r"no key `toy\.nested\.deep`, which toy@a declares"):
        Entry(root, "toy@a").params()


def test_an_unknown_address_is_named(root: Path) -> None:
    """A stage started by hand without its matrix item."""
    for address in ("toy", "toy@c", "toi"):
        with pytest.raises(CapillaryError, match=f"has no stage {address}") as caught:
            Entry(root, address)
        assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(("file", "text"), [("params.yaml", "toy: {rate: 1\n"), ("dvc.yaml", "stages: [\n")])
def test_a_file_that_dvc_cannot_read_is_not_called_a_missing_stage(root: Path, file: str, text: str) -> None:
    """The message has the file at fault."""
    (root / file).write_text(text)
    with pytest.raises(CapillaryError, match="DVC cannot read") as caught:
        Entry(root, "toy@a")
    assert file in caught.value.what


def test_a_folder_without_dvc_is_an_error(tmp_path: Path) -> None:
    """A copy of the project without its .dvc."""
    with pytest.raises(CapillaryError, match="DVC"):
        Entry(tmp_path, "toy")


def test_hashes_follow_the_files(root: Path) -> None:
    """A changed, a missing and a restored dep are distinguished within one run, though DVC keeps hashes of known
    files.
    """
    (root / "dvc.yaml").write_text("stages: {toy: {cmd: x, deps: [data/in.txt, ../beside]}}\n")
    entry = Entry(root, "toy")
    file = root / "data/in.txt"
    before = entry.dep_hashes()
    stat = file.stat()
    file.write_text("other")
    assert entry.dep_hashes()["data/in.txt"] not in {before["data/in.txt"], "missing"}
    assert entry.dep_hashes()["../beside"] == before["../beside"]
    (root.parent / "beside" / "new").touch()
    assert entry.dep_hashes()["../beside"] != before["../beside"]
    file.unlink()
    assert entry.dep_hashes()["data/in.txt"] == "missing"
    file.write_text("in")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert entry.dep_hashes()["data/in.txt"] == before["data/in.txt"]


@pytest.mark.parametrize("lost", ["nothing", "one file", "everything"])
def test_former_outs_come_back_whole_or_not_at_all(root: Path, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """DVC removed them before the stage; its cache may have been cleared since they were made."""
    (root / "dvc.yaml").write_text("stages: {toy: {cmd: mkdir o && echo b > o/b && echo c > o/c, outs: [o]}}\n")
    monkeypatch.chdir(root)
    with Repo(str(root)) as repo:
        repo.reproduce()
    cache = root / ".dvc/cache/files/md5"
    shutil.rmtree(root / "o")
    if lost == "everything":
        shutil.rmtree(cache)
    elif lost == "one file":
        next(path for path in cache.rglob("*") if path.is_file() and path.read_text() == "b\n").unlink()
    restored = Entry(root, "toy").restore_outs()
    assert restored == (["o"] if lost == "nothing" else [])
    assert (root / "o").exists() == (lost == "nothing")


def test_a_command_of_one_line_is_a_list_of_one(root: Path) -> None:
    """dvc.yaml takes both; a text of several lines is as many commands."""
    for cmd, commands in (("one", ["one"]), ('"one\\ntwo"', ["one", "two"])):
        (root / "dvc.yaml").write_text(f"stages: {{toy: {{cmd: {cmd}}}}}\n")
        assert Entry(root, "toy").commands == commands


RECORDED = """
stages:
  toy: {cmd: make, deps: [data/in.txt], params: [toy.rate], outs: [kept, {left: {cache: false}}]}
"""


@pytest.fixture
def recorded(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose dvc.lock has a run of `toy`."""
    monkeypatch.chdir(root)
    (root / "dvc.yaml").write_text(RECORDED)
    for name in ("kept", "left"):
        (root / name).write_text("former")
    with Repo(str(root)) as repo:
        repo.commit(force=True)
    return root


def test_an_entry_is_recorded_until_something_changes(recorded: Path) -> None:
    """A dep, a param or the command; each is as good as it was when it comes back."""
    assert Entry(recorded, "toy").is_recorded()
    changes = {"data/in.txt": ("in", "other"), "params.yaml": ("rate: 1e-3", "rate: 1"), "dvc.yaml": ("make", "made")}
    for name, (old, new) in changes.items():
        text = (recorded / name).read_text()
        (recorded / name).write_text(text.replace(old, new))
        assert not Entry(recorded, "toy").is_recorded(), name
        (recorded / name).write_text(text)
    assert Entry(recorded, "toy").is_recorded()
    (recorded / "dvc.lock").unlink()
    assert not Entry(recorded, "toy").is_recorded()


def test_only_what_is_missing_and_kept_by_dvc_comes_back(recorded: Path) -> None:
    """An out that stands may be newer; one without `cache` is nowhere."""
    (recorded / "kept").write_text("newer")
    (recorded / "left").unlink()
    assert Entry(recorded, "toy").restore_outs() == []
    assert (recorded / "kept").read_text() == "newer"
    assert not (recorded / "left").exists()
    (recorded / "kept").unlink()
    assert Entry(recorded, "toy").restore_outs() == ["kept"]
    assert (recorded / "kept").read_text() == "former"


def test_what_another_entry_makes_is_known(root: Path) -> None:
    """A dep that is, holds or is in an out of it; not what the user added, and not what this entry makes itself."""
    reader = """
  reader:
    cmd: capillary stage reader
    deps: [data/in.txt, data/a, data/b/part.txt, data/added]
    params: [toy.rate]
    outs: [data/read]
"""
    (root / "dvc.yaml").write_text(DVC_YAML + reader)
    (root / "data/added").mkdir()
    (root / "data/added/x.txt").write_text("x")
    with Repo(str(root)) as repo:
        repo.add(str(root / "data/added"))
    assert Entry(root, "reader").made_deps() == ["data/a", "data/b/part.txt"]
    assert Entry(root, "toy@a").made_deps() == []


SHARED = """
stages:
  make:
    matrix: {item: [a]}
    cmd: make
    outs: ['models/${item.item}.json', 'curves/${item.item}.csv']
  other: {cmd: other, outs: [data/other]}
  reader: {cmd: reader, deps: [models, data/in.txt, data/other], outs: [data/read]}
"""
LOCK = """
schema: '2.0'
stages:
  make@a: {cmd: make, outs: [{path: models/a.json}, {path: curves/a.csv}]}
  make@b: {cmd: make, outs: [{path: models/b.json}, {path: curves/b.csv}, {path: models/gone.json}, {path: data/other}]}
  else@b: {cmd: else, outs: [{path: data/else.csv}]}
"""


@pytest.fixture
def shared(root: Path) -> Path:
    """A workspace in which the item b was made before the matrix lost it, and somebody left a note."""
    (root / "dvc.yaml").write_text(SHARED)
    (root / "dvc.lock").write_text(LOCK)
    (root / ".dvcignore").write_text("*.swp\n")
    names = ("models/a.json", "models/b.json", "models/deep/note.txt", "models/.gitignore", "models/x.swp")
    for name in (*names, "curves/a.csv", "curves/b.csv", "curves/note.txt", "data/other", "data/else.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def in_git(root: Path) -> None:
    ignored = (root / ".dvcignore").read_text()
    start_repository(root)
    (root / ".dvcignore").write_text(ignored)


def test_a_stray_is_in_a_folder_of_others_outs_and_nobody_makes_it(shared: Path) -> None:
    """With the other outs of an item that the matrix lost. What DVC ignores, Git keeps or another entry makes stays."""
    in_git(shared)
    names = ("curves/b.csv", "models/b.json", "models/deep/note.txt")
    assert Entry(shared, "reader").strays() == [shared / name for name in names]
    assert Entry(shared, "make@a").strays() == []


def test_without_git_a_stray_is_what_an_item_made_that_is_gone(shared: Path) -> None:
    """Anything else may have come with the project: nothing tells, where it was unpacked from an archive."""
    assert Entry(shared, "reader").strays() == [shared / "curves/b.csv", shared / "models/b.json"]


def test_a_matrix_that_lost_all_its_items_made_what_they_made(shared: Path) -> None:
    """As when the last of several seeds is taken out of params.yaml."""
    yaml = (shared / "dvc.yaml").read_text()
    seeds = "  seed:\n    matrix: {item: []}\n    cmd: make\n    outs: ['models/s/${item.item}.json']\n"
    (shared / "dvc.yaml").write_text(yaml + seeds)
    (shared / "models/s").mkdir()
    (shared / "models/s/7.json").write_text("7")
    lock = (shared / "dvc.lock").read_text()
    (shared / "dvc.lock").write_text(lock + "  seed@7: {cmd: make, outs: [{path: models/s/7.json}]}\n")
    names = ("curves/b.csv", "models/b.json", "models/s/7.json")
    assert Entry(shared, "reader").strays() == [shared / name for name in names]


def test_what_git_has_or_will_have_a_clone_has_too(shared: Path) -> None:
    """A note that was committed next to the outs, and files that `dvc add` has just made."""
    in_git(shared)
    subprocess.run(["git", "add", "models/deep/note.txt"], cwd=shared, check=True)
    (shared / "models/mine.pt.dvc").write_text("outs: [{path: mine.pt}]")
    assert Entry(shared, "reader").strays() == [shared / "curves/b.csv", shared / "models/b.json"]


def test_what_a_lost_item_made_outside_of_the_workspace_is_let_be(shared: Path) -> None:
    """Another project may use it; nor is the whole workspace an out."""
    beside = shared.parent / "beside" / "x.json"
    beside.write_text("x")
    outs = f"{{path: ../beside/x.json}}, {{path: {beside}}}, {{path: .}}"
    (shared / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  make@b: {{cmd: make, outs: [{outs}]}}\n")
    assert Entry(shared, "reader").strays() == []


def test_dvc_keeps_what_a_lost_item_made_but_no_copy_of_it(shared: Path) -> None:
    """A copy has its content in the cache, too, but nothing leads from its name to it."""
    entry, card, copy = Entry(shared, "reader"), shared / "models/b.json", shared / "models/best.json"
    shutil.copy(card, copy)
    assert not entry.is_kept(card)
    cached = entry.cache_dir / hashlib.md5(card.read_bytes()).hexdigest()
    cached = entry.cache_dir / cached.name[:2] / cached.name[2:]
    cached.parent.mkdir(parents=True)
    shutil.copy(card, cached)
    assert entry.is_kept(card)
    assert not entry.is_kept(copy)


def test_a_file_is_cached_if_the_cache_has_its_very_content(recorded: Path) -> None:
    """Not one of the same name; a link that leads nowhere, as after `dvc gc`, is not."""
    entry = Entry(recorded, "toy")
    assert entry.is_cached(recorded / "kept")
    (recorded / "kept").unlink()
    (recorded / "kept").write_text("changed")
    assert not entry.is_cached(recorded / "kept")
    (recorded / "link").symlink_to(recorded / "nowhere")
    assert not entry.is_cached(recorded / "link")


def test_what_the_cache_delivered_is_known_by_what_dvc_recorded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in outs of other entries and in what the user added to DVC; the rest DVC has read itself."""
    monkeypatch.chdir(root)  # DVC names stages as they are called from here
    makers = "".join(f"  {name}: {{cmd: make, outs: [data/{name}]}}\n" for name in ("a", "b"))
    (root / "dvc.yaml").write_text(f"stages:\n{makers}")
    for name in ("a/x.txt", "a/deep/y.txt", "b/part.txt", "b/other.txt", "added/z.txt"):
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_text(name)
    with Repo(str(root)) as repo:
        repo.add(str(root / "data/added"))
        repo.commit(force=True)
    deps = "data/in.txt, data/a, data/b/part.txt, data/added"
    (root / "dvc.yaml").write_text(f"stages:\n{makers}  reader: {{cmd: read, deps: [{deps}]}}\n")
    found = {each.file.relative_to(root).as_posix(): each for each in Entry(root, "reader").delivered()}
    assert {name: (each.out, each.maker) for name, each in found.items()} == {
        "data/a/x.txt": ("data/a", "a"),
        "data/a/deep/y.txt": ("data/a", "a"),
        "data/b/part.txt": ("data/b", "b"),
        "data/added/z.txt": ("data/added", None),
    }
    for each in found.values():
        content = each.file.read_bytes()
        assert each.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
        assert each.cached.read_bytes() == content


def test_what_the_cache_delivers_damaged_is_still_known_by_its_right_name(recorded: Path) -> None:
    """DVC trusts an object that is read-only, and what it takes from there it does not read."""
    with Repo(str(recorded)) as repo:
        (out,) = [out for stage in repo.index.stages for out in stage.outs if out.def_path == "kept"]
        right, cached = out.hash_info.value, Path(repo.cache.local.oid_to_path(out.hash_info.value))
    cached.chmod(0o644)
    cached.write_text("damage")
    cached.chmod(0o444)
    (recorded / "kept").unlink()
    text = (recorded / "dvc.yaml").read_text()
    (recorded / "dvc.yaml").write_text(
        text + "  next:\n    cmd: capillary stage next\n    deps: [kept]\n    outs: [n]\n"
    )
    with Repo(str(recorded)) as repo:
        repo.checkout("kept", force=True)
    assert (recorded / "kept").read_text() == "damage"
    (found,) = Entry(recorded, "next").delivered()
    assert (found.file.name, found.md5, found.cached) == ("kept", right, cached)


@pytest.fixture
def copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that copies a file, and has done so for two contents of it."""
    root = tmp_path / "copying"
    root.mkdir()
    (root / "dvc.yaml").write_text("stages: {copy: {cmd: cp in.txt out.txt, deps: [in.txt], outs: [out.txt]}}\n")
    monkeypatch.chdir(root)  # where DVC looks for what to run
    with Repo.init(no_scm=True) as repo:
        for text in ("first", "second"):
            (root / "in.txt").write_text(text)
            repo.reproduce()
    return root


def test_an_entry_is_due_if_dvc_would_run_its_command(copying: Path) -> None:
    """Not if nothing changed, nor if the run cache has the outs of what the deps were or are again."""
    due = {}
    for text in ("second", "first", "third"):
        (copying / "in.txt").write_text(text)
        due[text] = Entry(copying, "copy").is_due()
    assert due == {"second": False, "first": False, "third": True}
    (copying / "in.txt").write_text("second")
    (copying / "out.txt").unlink()
    assert not Entry(copying, "copy").is_due()
    shutil.rmtree(copying / ".dvc/cache/files")
    assert Entry(copying, "copy").is_due()
