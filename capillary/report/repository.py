"""What Git and DVC say of the files behind a report, and the command that repeats it."""

import io
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from capillary.dvc.commands import DVC
from capillary.integrity.lock_file import refuse_damaged_lock
from capillary.params_file import known_keys, read_params_file, whole_values
from capillary.report.set_params import set_param_arguments
from capillary.yaml_file import leaves
from stages.common.errors import UsageError
from stages.common.requests.report import SHORT, Param, Repository

# written by the run itself, or repeated by the command
OWN_FILES = {"params.yaml", "dvc.lock"}
ABSENT = object()


def read_repository(root: Path) -> Repository:
    """Commit and changed files. Raises CapillaryError if Git does not answer."""
    changed = list(_changed_files(_git(root, "status", "--porcelain", "-z", "--untracked-files=normal")))
    return Repository(
        commit=_git(root, "rev-parse", "HEAD").strip(),
        branch=_git(root, "rev-parse", "--abbrev-ref", "HEAD").strip(),
        changed=tuple(name for name in changed if name not in OWN_FILES),
        params_changed="params.yaml" in changed,
    )


def _changed_files(status: str) -> Iterator[str]:
    """The names in the output of `git status --porcelain -z`: `XY name`, after a renamed one its previous name."""
    entries = iter(status.split("\0"))
    for entry in entries:
        if entry:
            yield entry[3:]
        if entry.startswith(("R", "C")):
            next(entries)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UsageError(
            "Git does not answer",
            file=root,
            value=done.stderr.strip(),
            remedy="run this in the project's own folder: a Git repository with at least one commit",
        )
    return done.stdout


def read_params(root: Path) -> tuple[Param, ...]:
    """Every key of params.yaml, marked where HEAD has another value. Raises ParamsError if there is none."""
    committed = dict(leaves(_committed_params(root)))
    return tuple(
        Param(key=key, value=_show(value), changed=bool(committed) and committed.get(key, ABSENT) != value)
        for key, value in leaves(read_params_file(root))
    )


def _show(value: Any) -> str:
    return "null" if value is None else json.dumps(value, ensure_ascii=False).strip('"')


def _committed_params(root: Path) -> dict[str, Any]:
    done = subprocess.run(["git", "show", "HEAD:./params.yaml"], cwd=root, check=False, capture_output=True, text=True)
    try:
        tree = YAML(typ="safe", pure=True).load(io.StringIO(done.stdout))
    except YAMLError:
        return {}  # a committed file that never worked: nothing to compare with
    return tree if isinstance(tree, dict) else {}


def repeat_lines(root: Path, repository: Repository | None, command: str | None) -> tuple[str, ...]:
    """The shell lines that repeat the experiment: its commit, then `command` or what it is worth in DVC's terms."""
    checkout = (f"git switch --detach {repository.commit[:SHORT]}",) if repository else ()
    return (*checkout, command or _dvc_command(root))


def _dvc_command(root: Path) -> str:
    declared = known_keys(root) if (root / "dvc.yaml").is_file() else ()
    committed = whole_values(_committed_params(root), declared)
    current = whole_values(read_params_file(root), declared)
    changed = {key: value for key, value in current.items() if committed.get(key, ABSENT) != value}
    if not committed or not changed:
        return "dvc repro"
    return " ".join(map(_quote, ["dvc", "exp", "run", *set_param_arguments(changed)]))


def _quote(word: str) -> str:
    """`word` for a shell; in double quotes where it holds single ones, which would be hard to read otherwise."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def current_experiment(root: Path) -> str | None:
    """The newest DVC experiment whose dvc.lock is the one that is here; None if there is none."""
    lock = root / "dvc.lock"
    if not lock.is_file():
        return None
    own = _git(root, "hash-object", str(lock)).strip()
    prefix = _git(root, "rev-parse", "--show-prefix").strip()
    newest_first = ["for-each-ref", "--sort=-committerdate", "--format=%(refname)", "refs/exps"]
    # refs/exps/<first two of the baseline>/<rest>/<name>; refs/exps/exec and celery are DVC's own
    refs = [ref for ref in _git(root, *newest_first).splitlines() if len(ref.split("/")) == 5]
    for ref in refs:
        argv = ["git", "rev-parse", "--quiet", "--verify", f"{ref}:{prefix}dvc.lock"]
        found = subprocess.run(argv, cwd=root, check=False, capture_output=True, text=True)
        if found.stdout.strip() == own:
            return ref.rpartition("/")[2]
    return None


def changed_stages(root: Path) -> tuple[str, ...]:
    """The stages whose deps, params or outs are not those of dvc.lock. Raises CapillaryError if DVC cannot tell."""
    refuse_damaged_lock(root)
    argv = [*DVC, "status", "--json"]
    done = subprocess.run(argv, cwd=root, check=False, capture_output=True, text=True)
    try:
        return tuple(json.loads(done.stdout))
    except ValueError as error:
        raise UsageError(
            "DVC cannot compare the files with dvc.lock",
            value=(done.stderr.strip().splitlines() or ["it says nothing"])[-1],
            remedy="run `dvc status` and do what it says",
        ) from error
