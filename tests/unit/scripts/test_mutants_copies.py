"""Tests run in private copies of the working tree, which are removed."""

import subprocess
from pathlib import Path

import pytest

from scripts.mutants.copies import copies, working_files


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


def test_each_fault_has_its_own_second(checkout: Path) -> None:
    """Python takes a compiled file of the same size and second for current; after the block the original one counts."""
    with copies(checkout, working_files(checkout), 1) as free:
        copy = free.get()
        module = copy.root / "new.py"
        times = [module.stat().st_mtime]
        for fault in ("x = 3\n", "x = 4\n"):
            with copy.changed("new.py", fault):
                times.append(module.stat().st_mtime)
        assert len({int(each) for each in times}) == 3
        assert module.stat().st_mtime == times[0]


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
