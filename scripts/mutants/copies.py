"""Private copies of the working tree, in which tests run: the checkout is never touched."""

import contextlib
import hashlib
import os
import queue
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

GIT = ["git", "-c", "user.name=mutants", "-c", "user.email=mutants@localhost", "-c", "commit.gpgsign=false"]
HASHED = ("capillary/", "stages/", "tests/")
MOST_BYTES = 16 << 30  # of address space: a fault that allocates for ever must not take the machine along
# files in the order in which they are named, not the longest first; the same examples in each run
PYTEST = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:capillary-schedule", "--hypothesis-seed=0", "-o", "timeout=0"]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy that is its own Git repository: tests clone it."""

    root: Path
    tmp: Path

    @contextlib.contextmanager
    def changed(self, path: str, text: str) -> Iterator[None]:
        """`path` holds `text` within the block; after it, everything is as before."""
        (self.root / path).write_text(text)
        _git(self.root, "commit", "-qam", "fault")
        try:
            yield
        finally:
            _git(self.root, "reset", "-q", "--hard", "HEAD~")

    def pytest(self, tests: Sequence[str], *options: str, timeout_s: float, **variables: str) -> tuple[int | None, str]:
        """Run `tests` in a new pytest: its exit code, None when it was killed for lack of time; and its output."""
        own = {
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(self.root),
            "PYTEST_ADDOPTS": "",
        }
        names = self.tmp / "tests"
        names.write_text("\n".join(tests))
        with tempfile.TemporaryFile("w+", dir=self.tmp) as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *PYTEST, *options, f"@{names}"],
                cwd=self.root,
                env={**os.environ, **own, "TMPDIR": str(self.tmp), **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES)),
            )
            code = _wait(process, timeout_s)
            output.seek(0)
            return code, output.read()


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """The exit code, or None after `timeout_s`. Seconds are counted: those in which the machine slept are not."""
    for _ in range(int(timeout_s)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(1)
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    return None


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


def tree_hash(root: Path, files: Sequence[str]) -> str:
    """Changes with any file of the code or of the tests."""
    digest = hashlib.sha256()
    for file in (file for file in files if file.startswith(HASHED)):
        digest.update(f"{file}\0{hashlib.sha256((root / file).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _git(root: Path, *words: str) -> str:
    return subprocess.run([*GIT, *words], cwd=root, check=True, capture_output=True, text=True).stdout
