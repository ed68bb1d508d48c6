"""The workspace of the release image: a Git and DVC repository made of the image's code, kept below /artifacts."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RESULTS = ("metrics", "models", "reports")
DVC = ".dvc"  # holds the cache too: files are added to it, none is removed
STAMP = ".capillary/release/stamp"


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are in the container."""

    code: Path = Path("/opt/capillary")
    data: Path = Path("/data")
    artifacts: Path = Path("/artifacts")
    runs: Path = Path("/mlruns")

    @property
    def workspace(self) -> Path:
        """Where the experiment runs; it stays between containers."""
        return self.artifacts / ".workspace"

    @property
    def has_data(self) -> bool:
        """Whether something is mounted as the source."""
        return self.data.is_dir() and any(self.data.iterdir())

    def configs(self) -> Iterator[Path]:
        """The experiment files of the image."""
        return self.code.glob("configs/experiments/*.yaml")


def prepare(places: Places) -> None:
    """Bring the workspace to the image's code. Results, cache and checkpoints of earlier containers stay."""
    workspace, stamp = places.workspace, digest(places.code)
    workspace.mkdir(exist_ok=True)
    # entries of a container that was killed: its process ids mean others here, and nobody else works in the folder
    (workspace / DVC / "tmp" / "rwlock").unlink(missing_ok=True)
    for lock in (workspace / DVC / "tmp" / "lock", workspace / ".git" / "index.lock"):
        lock.unlink(missing_ok=True)
    file = workspace / STAMP
    if file.is_file() and file.read_text() == stamp:
        return
    for entry in places.code.iterdir():
        renew(entry, workspace / entry.name)
    commit(workspace, f"code of the image, {stamp[:12]}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(stamp)  # last: a copy that was cut off is made again


def renew(entry: Path, target: Path) -> None:
    """Put `entry` of the image in place of what is there."""
    if not entry.is_dir():
        shutil.copyfile(entry, target)
        return
    if entry.name != DVC and target.exists():
        shutil.rmtree(target)  # a module that the image no longer has would make stages look changed
    shutil.copytree(entry, target, dirs_exist_ok=True, copy_function=shutil.copyfile)


def commit(workspace: Path, message: str) -> None:
    """A commit with the code, which DVC's experiments start from."""
    for argv in (
        ["init", "--quiet", "--initial-branch", "release"],
        ["add", "--all"],
        ["commit", "--quiet", "--allow-empty", "--message", message],
    ):
        subprocess.run(["git", *argv], cwd=workspace, check=True)


def publish(places: Places) -> list[Path]:
    """Copy metrics, reports and models' cards next to the workspace; each folder is replaced as a whole.

    Returns the folders that were copied."""
    copied = []
    for name in RESULTS:
        made, shown = places.workspace / name, places.artifacts / name
        if not made.is_dir():
            continue
        fresh, former = places.artifacts / f".{name}.new", places.artifacts / f".{name}.former"
        for left in (fresh, former):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(made, fresh, ignore=links, copy_function=shutil.copyfile)
        if shown.exists():
            shown.rename(former)
        fresh.rename(shown)
        shutil.rmtree(former, ignore_errors=True)
        copied.append(shown)
    return copied


def links(folder: str, names: list[str]) -> set[str]:
    """What publish leaves out: a link could lead out of the workspace."""
    return {name for name in names if Path(folder, name).is_symlink()}


def digest(folder: Path) -> str:
    """A hash of all files below `folder` and their names."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{file.relative_to(folder)}\0".encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
