"""Private copies of the working tree, in which tests run: the checkout is never touched."""

import contextlib
import itertools
import os
import queue
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.mutants import warm

GIT = ["git", "-c", "user.name=mutants", "-c", "user.email=mutants@localhost", "-c", "commit.gpgsign=false"]
# files in the order in which they are named, not the longest first; the same examples in each run
PYTEST = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:capillary-schedule", "--hypothesis-seed=0", "-o", "timeout=0"]
# A module's compiled form is valid for its size and second, and a fault often keeps the size: each has its own second.
SECONDS = itertools.count(1_000_000_000)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy that is its own Git repository: tests clone it."""

    root: Path
    tmp: Path

    @contextlib.contextmanager
    def changed(self, path: str, text: str) -> Iterator[None]:
        """`path` holds `text` within the block; after it, everything is as before."""
        file = self.root / path
        before = file.stat()
        file.write_text(text)
        second = next(SECONDS)
        os.utime(file, (second, second))
        _git(self.root, "commit", "-qam", "fault")
        try:
            yield
        finally:
            _git(self.root, "reset", "-q", "--hard", "HEAD~")
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def pytest(self, tests: Sequence[str], *, limit_s: float) -> tuple[int | None, str]:
        """Run `tests` in a new pytest: its exit code, None when it was killed for its CPU time; and its output."""
        own = {"PYTHONPATH": str(self.root), "PYTEST_ADDOPTS": "", "TMPDIR": str(self.tmp)}
        arguments = [*PYTEST, *tests]
        with tempfile.TemporaryFile(dir=self.tmp) as output:
            code = warm.run(lambda: int(pytest.main(arguments)), self.root, own, output, limit_s=int(limit_s))
            output.seek(0)
            return code, output.read().decode(errors="replace")


@contextlib.contextmanager
def copies(root: Path, files: Sequence[str], number: int) -> Iterator[queue.Queue[Copy]]:
    """`number` copies of `files`, free to be taken; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mutants-")).resolve()
    free: queue.Queue[Copy] = queue.Queue()
    try:
        for index in range(number):
            free.put(_make(root, files, folder / str(index), folder / f"t{index}"))
        yield free
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(root: Path, files: Sequence[str], place: Path, tmp: Path) -> Copy:
    tmp.mkdir()
    for file in files:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / file, place / file, follow_symlinks=False)
    _git(place, "init", "-q")
    _git(place, "add", "-A", "--force")
    _git(place, "commit", "-qm", "copy")
    return Copy(root=place, tmp=tmp)


def working_files(root: Path) -> list[str]:
    """What the working tree of `root` holds and Git does not ignore."""
    listed = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    return sorted({file for file in listed if file and (root / file).is_file()})


def _git(root: Path, *words: str) -> str:
    return subprocess.run([*GIT, *words], cwd=root, check=True, capture_output=True, text=True).stdout
