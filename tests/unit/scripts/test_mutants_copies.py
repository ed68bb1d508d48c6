"""Tests run in private copies of the working tree, which are removed."""

import subprocess
from pathlib import Path

import pytest

from scripts.mutants.copies import Copy, copies, tree_hash, working_files


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A working tree: a committed file, a new one, and one that Git ignores."""
    root = tmp_path / "checkout"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / ".gitignore").write_text("ignored\n")
    (root / "kept.py").write_text("x = 1\n")
    (root / "gone.py").write_text("x = 1\n")
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    (root / "gone.py").unlink()
    (root / "new.py").write_text("x = 2\n")
    (root / "ignored").write_text("secret\n")
    return root


def test_copies_hold_the_working_tree_and_are_removed(checkout: Path) -> None:
    """A copy has what is there now, committed or not, and nothing that Git ignores; nothing is left when it ends."""
    files = working_files(checkout)
    assert files == [".gitignore", "kept.py", "new.py"]
    with copies(checkout, files, 2) as free:
        both = [free.get(), free.get()]
        for copy in both:
            assert sorted(file.name for file in copy.root.iterdir() if file.name != ".git") == files
    assert not any(place.exists() for copy in both for place in (copy.root, copy.tmp, copy.root.parent))


def test_a_fault_is_in_its_copy_alone_and_taken_back(checkout: Path) -> None:
    """Within the block the copy and a clone of it have the fault; after it nothing has, and no other file changed."""
    with copies(checkout, working_files(checkout), 1) as free:
        copy = free.get()
        with copy.changed("new.py", "x = 3\n"):
            (copy.root / "kept.py").write_text("a test wrote this\n")
            committed = subprocess.run(
                ["git", "show", "HEAD:new.py"], cwd=copy.root, check=True, capture_output=True, text=True
            )
            assert committed.stdout == (copy.root / "new.py").read_text() == "x = 3\n"
        assert (copy.root / "new.py").read_text() == "x = 2\n"
        assert (copy.root / "kept.py").read_text() == "x = 1\n"
    assert (checkout / "new.py").read_text() == "x = 2\n"


def test_the_hash_tells_states_of_the_tree_apart(tmp_path: Path) -> None:
    """Any change of the code or the tests gives another hash; documents do not."""
    files = ["capillary/a.py", "docs/b.md", "stages/c.py", "tests/d.json"]
    for file in files:
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("1")
    hashes = [tree_hash(tmp_path, files)]
    for file in files:
        (tmp_path / file).write_text("2")
        hashes.append(tree_hash(tmp_path, files))
    assert hashes[1] == hashes[2]
    assert len({*hashes, tree_hash(tmp_path, files[:-1])}) == 5


TESTS = """
import time
def test_good(): pass
def test_bad(): assert False
def test_endless():
    while True: time.sleep(1)
"""


@pytest.mark.parametrize(("test", "code"), [("good", 0), ("bad", 1), ("endless", None)])
def test_a_run_ends_with_its_code_or_is_killed(tmp_path: Path, test: str, code: int | None) -> None:
    """Tests that fail give pytest's code; tests that never end are killed and give none."""
    (tmp_path / "test_it.py").write_text(TESTS)
    copy = Copy(root=tmp_path, tmp=tmp_path)
    # no time at all for what never ends: a short time might not be enough for the others
    found, _ = copy.pytest([f"test_it.py::test_{test}"], timeout_s=60 if code is not None else 0)
    assert found == code
