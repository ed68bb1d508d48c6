"""Making a new project: checks first, then all of it in a temporary folder, which takes its name at the end."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from capillary.dvc.commands import DVC
from capillary.new_project.sample import project_files, read_sample
from stages.common.errors import CapillaryError, MachineError, UsageError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

# also the name of a model and an experiment in MLflow, and of a folder: what all of them take
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
# set where a hook or an alias of another repository starts this program
_OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "DVC_ROOT", "DVC_STAGE")


@dataclass(frozen=True, kw_only=True)
class NewProject:
    """What is to be made: `files` by relative path, in `folder`, which does not exist yet or is empty."""

    name: str
    folder: Path
    files: Mapping[str, bytes]


def plan_project(name: str, folder: Path) -> NewProject:
    """The project `name` in `folder`. Raises CapillaryError (usage) for a name or folder that cannot be used."""
    _refuse_name(name)
    folder = folder.absolute()
    _refuse_folder(folder)
    return NewProject(name=name, folder=folder, files=project_files(name, read_sample()))


def create_project(project: NewProject, environment: Mapping[str, str]) -> bool:
    """Make `project`: files, Git and DVC. Returns whether it is committed, which needs a name and email for Git.

    Either all of it is in its folder afterwards, or nothing is. Raises CapillaryError when Git or DVC fails.
    """
    variables = {name: value for name, value in environment.items() if name not in _OF_ANOTHER}
    with _whole(project.folder) as base:
        _run("git init", ["git", "init", "--quiet"], base, variables)
        _run("dvc init", [*DVC, "init"], base, variables)
        for name, content in project.files.items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(content)
        _run("git add", ["git", "add", "--all"], base, variables)
        return _commit(project.name, base, variables)


def new(name: str, folder: Path | None, environment: Mapping[str, str]) -> None:
    """`capillary new`: make the project and say what comes next."""
    project = plan_project(name, folder or Path(name))
    committed = create_project(project, environment)
    log.info(f"made {project.folder}")
    if not committed:
        log.info(
            "nothing is committed, because Git has no identity: git config --global user.name and user.email, "
            "then git commit there"
        )
    log.info(f"next: cd {project.folder} && dvc repro; README.md says what to change first")


def _refuse_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise UsageError(
            "this cannot be the name of a project",
            value=name,
            remedy="use 1 to 40 lower-case letters, digits, - and _, beginning with a letter",
        )


def _refuse_folder(folder: Path) -> None:
    if os.path.lexists(folder) and not (folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())):
        raise _refused(folder, "already exists and is not an empty folder", "name another one with --at")
    outer = next((above for above in folder.parents if (above / ".git").exists()), None)
    if outer is not None:
        what = f"is in the Git repository {outer}, and a new project needs its own repository"
        raise _refused(folder, what, f"name a folder outside it, such as --at {outer.with_name(folder.name)}")


def _refused(folder: Path, what: str, remedy: str) -> CapillaryError:
    return UsageError(f"the folder of the new project {what}", file=folder, remedy=remedy)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A temporary folder on the disk of `folder`, which takes its name if the block ends well and is removed if not."""
    above = next(parent for parent in folder.parents if parent.is_dir())
    try:
        base = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=above))
    except OSError as error:
        what = f"cannot be made: {error.strerror} ({above})"
        raise _refused(folder, what, "name a folder with --at in which you may write") from error
    try:
        yield base
        base.chmod(0o777 & ~_umask())
        folder.parent.mkdir(parents=True, exist_ok=True)
        base.rename(folder)  # over an empty folder, but not over one that was filled meanwhile
    except BaseException:
        shutil.rmtree(base)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _commit(name: str, base: Path, variables: Mapping[str, str]) -> bool:
    """Commit all; False if Git has no identity. One that it would make up from the machine's name does not count."""
    for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
        told = ["git", "-c", "user.useConfigOnly=true", "var", who]
        if subprocess.run(told, cwd=base, env=variables, check=False, capture_output=True).returncode:
            return False
    _run("git commit", ["git", "commit", "--quiet", "--message", f"Start {name}"], base, variables)
    return True


def _run(name: str, argv: list[str], base: Path, variables: Mapping[str, str]) -> None:
    done = _started(argv, base, variables)
    if done.returncode:
        raise MachineError(
            f"`{name}` failed in the new project; nothing of it is kept",
            value=(done.stderr or done.stdout).strip(),
            remedy="correct what the message names, then repeat",
        )


def _started(argv: list[str], base: Path, variables: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            argv, cwd=base, env=variables, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise MachineError(
            f"a new project needs {argv[0]}, which is not on PATH",
            remedy=f"install {argv[0]}, then repeat",
        ) from error
