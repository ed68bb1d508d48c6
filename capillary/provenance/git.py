"""What Git knows of a workspace: its commit, where that came from, and what differs from it."""

import fnmatch
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from stages.common.program.messages import get_logger
from stages.common.text import without_login

log = get_logger(__name__)

MOST_BYTES = 1 << 20  # of a diff
# kept whole next to the diff: nearly every run changes them
KEPT_WHOLE = ("params.yaml", "dvc.lock")
# what programs call files of logins and keys; in small letters
SECRET_FILES = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", ".pypirc", ".git-credentials"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.kdbx"),
    *("credentials", "*credentials*.json", "*service*account*.json", "client_secret*.json", "*.keytab", "*.token"),
    *("kubeconfig", ".npmrc", ".boto", ".s3cfg", "rclone.conf", ".htpasswd", ".dockerconfigjson"),
)
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--binary", "--full-index")
_PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A folder in a Git repository. `prefix` is its path from the top, empty or ending with /.

    `tracked` and `untracked` are the files that differ from `commit`, relative to the folder; ignored ones are in
    neither.
    """

    commit: str | None
    prefix: str
    remote: str | None
    tracked: tuple[str, ...]
    untracked: tuple[str, ...]

    @property
    def changed(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.tracked, *self.untracked)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """A diff against the commit. None: it is larger than MOST_BYTES. `left_out` are new files that it does not have."""

    diff: bytes | None
    left_out: tuple[str, ...] = ()


def read_workspace(root: Path) -> Workspace | None:
    """What Git says of `root`; None if there is no repository or no Git."""
    status = _git(
        root, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames", "--", "."
    )
    if status is None:
        return None
    prefix = (_git(root, "rev-parse", "--show-prefix") or b"").decode().strip("\n")
    entries = status.decode("utf-8", "surrogateescape").split("\0")
    heads = dict(entry.removeprefix("# branch.").split(" ", 1) for entry in entries if entry.startswith("# branch."))
    commit = heads.get("oid", "(initial)")
    return Workspace(
        commit=None if commit == "(initial)" else commit,
        prefix=prefix,
        remote=_remote(root),
        tracked=tuple(_changed(entries, prefix)),
        untracked=tuple(_untracked(entries, prefix)),
    )


def read_changes(root: Path, workspace: Workspace) -> Changes:
    """The diff of `root` against its commit, new files included."""
    if workspace.commit is None or not workspace.changed:
        return Changes(diff=b"")
    new = [name for name in workspace.untracked if _is_recordable(root / name)]
    left_out = tuple(name for name in workspace.untracked if name not in new)
    with tempfile.TemporaryDirectory(prefix="capillary-index-") as folder:
        index = _index_with(root, new, Path(folder) / "index")
        return Changes(diff=_diff(root, index), left_out=left_out)


def _changed(entries: list[str], prefix: str) -> Iterator[str]:
    for entry in entries:
        fields = {"1": 8, "u": 10}.get(entry[:1])
        if fields is not None and entry[1:2] == " ":
            yield from _own(entry.split(" ", fields)[fields], prefix)


def _untracked(entries: list[str], prefix: str) -> Iterator[str]:
    for entry in entries:
        if entry.startswith("? "):
            yield from _own(entry[2:], prefix)


def _own(path: str, prefix: str) -> Iterator[str]:
    """`path` from the folder, unless it is kept whole or is a file of secrets that nobody told Git to ignore."""
    name = path.removeprefix(prefix)
    if name not in KEPT_WHOLE and not _is_secret(name):
        yield name


def _is_secret(name: str) -> bool:
    path = PurePath(name.lower())
    return path.parts[-2:] == (".dvc", "config.local") or any(fnmatch.fnmatchcase(path.name, s) for s in SECRET_FILES)


def _is_recordable(file: Path) -> bool:
    """A new file that the diff may have. A link leads to this machine's places, and is refused where it is applied."""
    return not file.is_symlink() and file.is_file() and file.stat().st_size <= MOST_BYTES


def _remote(root: Path) -> str | None:
    """The address of `origin`, or of the first remote, without a login."""
    names = (_git(root, "remote") or b"").decode().split()
    if not names:
        return None
    name = "origin" if "origin" in names else names[0]
    found = _git(root, "remote", "get-url", name)
    return None if found is None else without_login(found.decode().strip())


def _index_with(root: Path, new: list[str], index: Path) -> Mapping[str, str]:
    """The variables for a copy of the index in which the files `new` are known; Git's own stays as it is."""
    own = (_git(root, "rev-parse", "--git-path", "index") or b"").decode().strip("\n")
    if (root / own).is_file():
        shutil.copy2(root / own, index)  # by the time of its index Git knows which files it must compare
    variables = {"GIT_INDEX_FILE": str(index)}
    if new:
        names = "\0".join(new).encode("utf-8", "surrogateescape")
        argv = ("add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
        _git(root, "--literal-pathspecs", *argv, variables=variables, stdin=names)
    return variables


def _diff(root: Path, variables: Mapping[str, str]) -> bytes | None:
    whole = (f":(exclude,glob){name}" for name in KEPT_WHOLE)
    secret = (f":(exclude,glob,icase)**/{name}" for name in (*SECRET_FILES, ".dvc/config.local"))  # **/ is also nothing
    argv = ["git", "diff", *_PLAIN, *_PREFIXES, "--relative", "HEAD", "--", ".", *whole, *secret]
    with subprocess.Popen(argv, cwd=root, env=_environment(variables), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        text = process.stdout.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            process.kill()
            return None
    return text


def _git(
    root: Path, *arguments: str, variables: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> bytes | None:
    """What Git prints; None if it fails, which is said if there is a repository."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            env=_environment(variables or {}),
            input=stdin,
            check=False,
            capture_output=True,
        )
    except FileNotFoundError:
        return None
    if done.returncode == 0:
        return done.stdout
    if any((folder / ".git").exists() for folder in (root, *root.parents)):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        log.warning(
            f"the run's commit is not recorded in full: git {arguments[0]} failed ({said[0] if said else 'silently'})"
        )
    return None


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    # no lock of the index: others may work in this repository at the same time
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **variables}
