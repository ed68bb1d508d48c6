"""The project as it was, laid out from its commit in its own folder. Real Git, no DVC."""

import dataclasses
import os
import stat
import subprocess
from pathlib import Path

import pytest

from capillary.reproduce.commit import ensure_commit, touched_files
from capillary.reproduce.dvc_config import local_config
from capillary.reproduce.patch import refuse_unsafe
from capillary.reproduce.project import FOLDER, computing_variables, data_lock, environment_of, laid_out, move
from capillary.reproduce.recipe import Original, Recipe
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, DataError
from tests.support.tracking.provenance import COMPUTING, provenance_record
from tests.unit.capillary.reproduce.test_recipe import cell

PATCH = b"""diff --git a/code.py b/code.py
--- a/code.py
+++ b/code.py
@@ -1 +1 @@
-a = 1
+a = 2
"""


def run_git(root: Path, *argv: str) -> str:
    """Git with a name for commits."""
    names = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *argv], cwd=root, env={**os.environ, **names}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with a project."""
    root = tmp_path / "origin"
    (root / ".dvc").mkdir(parents=True)
    for name, text in {
        "dvc.yaml": "stages: {}\n",
        "code.py": "a = 1\n",
        ".dvc/config": "",
        ".gitignore": "/.capillary/\n",
    }.items():
        (root / name).write_text(text)
    run_git(root, "init", "-q", "-b", "main")
    run_git(root, "add", "-A")
    run_git(root, "commit", "-qm", "start")
    return root


def recipe(commit: str, diff: bytes = b"") -> Recipe:
    """One cell of `commit`."""
    original = Original(
        cell=cell(),
        record=provenance_record({"commit": commit, "remote": "https://example.org/x.git"}),
        diff=diff,
        params=b"training: {losses: [dice_ce]}\n",
        lock=b"stages: {preprocess: {outs: []}, train@dice_ce-0: {outs: []}}\n",
    )
    return Recipe(originals=(original,))


def test_the_project_is_laid_out_and_removed(origin: Path, tmp_path: Path) -> None:
    """Code, changes, params and the data's part of dvc.lock; the user's files, branches and worktrees stay."""
    commit = run_git(origin, "rev-parse", "HEAD")
    (origin / "code.py").write_text("the user's own edit\n")
    (origin / ".dvc" / "config.local").write_text("['remote \"share\"']\n    url = ../store\n    password = pw\n")
    with laid_out(origin, recipe(commit, PATCH), tmp_path / "cache", keep=False) as project:
        assert (project.root / "code.py").read_text() == "a = 2\n"
        assert (project.root / "params.yaml").read_text() == "training: {losses: [dice_ce]}\n"
        assert "preprocess" in (project.root / "dvc.lock").read_text()
        assert "train@" not in (project.root / "dvc.lock").read_text()
        config = project.root / ".dvc" / "config.local"
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        assert f"url = {origin / 'store'}" in config.read_text()
    assert (origin / "code.py").read_text() == "the user's own edit\n"
    assert run_git(origin, "worktree", "list").count("\n") == 0
    assert not any((origin / FOLDER).iterdir())


NEW = b"""diff --git a/new.py b/new.py
new file mode 100644
--- /dev/null
+++ b/new.py
@@ -0,0 +1 @@
+b = 1
"""


def test_a_project_moves_to_the_state_of_its_evaluation(origin: Path, tmp_path: Path) -> None:
    """Commit, changes and params; what was made stays, DVC's record of it too, and nothing of the former changes."""
    trained = recipe(run_git(origin, "rev-parse", "HEAD"), PATCH + NEW)
    (origin / "code.py").write_text("a = 1\nb = 2\n")
    run_git(origin, "commit", "-qam", "evaluate otherwise")
    commit = run_git(origin, "rev-parse", "HEAD")
    now = dataclasses.replace(recipe(commit).first, params=b"evaluation: {threshold: 0.4}\n")
    with laid_out(origin, trained, tmp_path / "cache", keep=False) as project:
        assert (project.root / "new.py").is_file()
        (project.root / "dvc.lock").write_text("of the training\n")
        (project.root / "made").write_text("by the training\n")
        move(project, trained.first, now)
        assert (project.root / "code.py").read_text() == "a = 1\nb = 2\n"
        assert (project.root / "params.yaml").read_bytes() == now.params
        assert (project.root / "dvc.lock").read_text() == "of the training\n"
        assert (project.root / "made").is_file()
        assert not (project.root / "new.py").exists()
        move(project, now, trained.first)
        assert (project.root / "code.py").read_text() == "a = 2\n"
        assert (project.root / "new.py").is_file()


def test_what_is_kept_stays_and_what_was_killed_goes(origin: Path, tmp_path: Path) -> None:
    """A later reproduction sweeps only the folders of those that died."""
    commit = run_git(origin, "rev-parse", "HEAD")
    with laid_out(origin, recipe(commit), tmp_path / "cache", keep=True) as kept:
        pass
    dead = origin / FOLDER / "dead"
    dead.mkdir()
    (dead / "lock").touch()
    with laid_out(origin, recipe(commit), tmp_path / "cache", keep=False):
        pass
    assert [place.resolve() for place in (origin / FOLDER).iterdir()] == [kept.base]


def test_a_missing_commit_comes_from_the_own_remote(origin: Path, tmp_path: Path) -> None:
    """It is fetched from there; where no remote has it, the error says where it was recorded and fetches nothing."""
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "-q", str(origin), str(clone))
    (origin / "code.py").write_text("a = 3\n")
    run_git(origin, "commit", "-qam", "more")
    commit = run_git(origin, "rev-parse", "HEAD")
    ensure_commit(clone, commit, None)
    assert run_git(clone, "cat-file", "-t", commit) == "commit"
    with pytest.raises(CapillaryError, match=r"recorded from https://example\.org/x\.git") as caught:
        ensure_commit(clone, "0" * 40, "https://example.org/x.git")
    assert caught.value.value == "remotes: origin"


@pytest.mark.parametrize(
    ("diff", "said"),
    [
        (PATCH.replace(b"code.py", b"../code.py"), "outside|not a diff"),
        (PATCH.replace(b"code.py", b".git/config"), "outside|not a diff"),
        (PATCH.replace(b"code.py", b".GIT/config"), "outside|not a diff"),
        (b"not a diff at all\n", "not a diff"),
    ],
)
def test_a_diff_that_leaves_the_project_is_refused(origin: Path, diff: bytes, said: str) -> None:
    """By Git itself, or before Git applies it."""
    with pytest.raises(CapillaryError, match=said):
        refuse_unsafe(touched_files(origin, diff))


def test_a_project_below_the_top_of_its_repository_sees_all_of_a_diff(origin: Path) -> None:
    """Else nobody would be asked about the files in it, nor warned of new remotes."""
    (origin / "project").mkdir()
    for diff in (PATCH, PATCH.partition(b"\n")[2]):
        assert touched_files(origin / "project", diff) == ["code.py"]


@pytest.mark.parametrize("name", ["/etc/passwd", "a/../../b", "", "a/.git/hooks/x", "git~1/x", "C:/x", "a\\b"])
def test_names_that_lead_outside_are_refused(name: str) -> None:
    """Whatever a later Git makes of them."""
    with pytest.raises(DataError, match="outside"):
        refuse_unsafe(["fine.py", name])


END = "\\ No newline at end of file\n"
NEW_LINK = f"diff --git a/l b/l\nnew file mode {{}}\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n{END}"
FORMS = ("120000", "0120000", " 120000", "+120000", "000120000", "120777", "120644 ", "160000", "00160000")
CHANGED = f"@@ -1 +1 @@\n-code.py\n{END}+/etc/passwd\n{END}"
LINKS = {
    **{f"a new one of mode {form!r}": NEW_LINK.format(form) for form in FORMS},
    "changed, without a mode": f"--- a/link\n+++ b/link\n{CHANGED}",
    "changed, with its mode": f"diff --git a/link b/link\nindex 1..2 0120000\n--- a/link\n+++ b/link\n{CHANGED}",
    "copied": "diff --git a/link b/m\nsimilarity index 100%\ncopy from link\ncopy to m\n",
    "renamed": "diff --git a/link b/sub/m\nsimilarity index 100%\nrename from link\nrename to sub/m\n",
    "removed": "diff --git a/link b/link\ndeleted file mode 0120000\n--- a/link\n+++ /dev/null\n"
    f"@@ -1 +0,0 @@\n-code.py\n{END}",
}


@pytest.mark.parametrize("diff", LINKS.values(), ids=LINKS)
def test_a_diff_makes_and_changes_no_link(origin: Path, tmp_path: Path, diff: str) -> None:
    """Nor a submodule, however it writes the mode, which Git reads as a number."""
    (origin / "link").symlink_to("code.py")
    run_git(origin, "add", "link")
    run_git(origin, "commit", "-qm", "a link of the project's own")
    commit = run_git(origin, "rev-parse", "HEAD")
    with (
        pytest.raises(DataError, match=r"make or change a link or a submodule|not a diff|do not fit"),
        laid_out(origin, recipe(commit, diff.encode()), tmp_path, keep=True),
    ):
        pass
    assert not any((origin / FOLDER).iterdir())


def test_modes_of_files_and_programs_may_change(origin: Path, tmp_path: Path) -> None:
    """The look at them leaves Git's index as it was."""
    commit = run_git(origin, "rev-parse", "HEAD")
    diff = b"diff --git a/code.py b/code.py\nold mode 100644\nnew mode 100755\n"
    with laid_out(origin, recipe(commit, diff), tmp_path, keep=False) as project:
        assert (project.root / "code.py").stat().st_mode & 0o100
        assert run_git(project.root, "diff", "--cached", "--name-only") == ""
        assert run_git(project.root, "diff", "--name-only") == "code.py"


def test_a_diff_that_does_not_fit_is_an_error_and_leaves_nothing(origin: Path, tmp_path: Path) -> None:
    """Git's own words are shown."""
    commit = run_git(origin, "rev-parse", "HEAD")
    other = PATCH.replace(b"a = 1", b"b = 1")
    with (
        pytest.raises(CapillaryError, match="do not fit"),
        laid_out(origin, recipe(commit, other), tmp_path, keep=True),
    ):
        pass
    assert not any((origin / FOLDER).iterdir())


def test_remotes_are_those_of_the_project(tmp_path: Path) -> None:
    """Folders are named absolutely, also those of the committed config; the cache is the one given."""
    folder = tmp_path / ".dvc"
    folder.mkdir()
    (folder / "config").write_text(
        "[core]\n    remote = a\n['remote \"a\"']\n    url = ../a\n['remote \"b\"']\n    url = s3://b\n"
    )
    (folder / "config.local").write_text(
        "['remote \"b\"']\n    secret_access_key = k%k\n[cache]\n    dir = elsewhere\n"
    )
    text = local_config(folder, Path("/cache")).decode()
    assert f"url = {tmp_path / 'a'}" in text
    assert "secret_access_key = k%k" in text
    assert "dir = /cache" in text
    assert "elsewhere" not in text
    assert "s3://b" not in text


def test_the_environment_reaches_no_store_of_the_user(origin: Path, tmp_path: Path) -> None:
    """Neither the tracking server nor checkpoints, nor results that are shared; the source's credentials stay."""
    given = {
        "PATH": os.environ["PATH"],
        "MLFLOW_TRACKING_URI": "https://server",
        "MLFLOW_TRACKING_PASSWORD": "pw",
        "CAPILLARY_CHECKPOINT_DIR": "/shared/state",
        "CAPILLARY_TRACKING": "required",
        "CAPILLARY_SHARED_CACHE": "lab",
        "DVC_EXP_NAME": "x",
        "GIT_DIR": "/elsewhere",
        "SOURCE_AWS_ACCESS_KEY_ID": "k",
    }
    settings = read_settings(origin, given)
    with laid_out(origin, recipe(run_git(origin, "rev-parse", "HEAD")), tmp_path, keep=False) as project:
        found = environment_of(settings, project, COMPUTING)
        assert found["PYTHONPATH"] == str(project.root)
    assert not {name for name in found if name.startswith(("MLFLOW_", "DVC_EXP", "GIT_"))}
    assert not {"CAPILLARY_CHECKPOINT_DIR", "CAPILLARY_TRACKING", "CAPILLARY_SHARED_CACHE"} & found.keys()
    assert found["SOURCE_AWS_ACCESS_KEY_ID"] == "k"


def test_threads_are_as_they_were_where_there_are_enough() -> None:
    """As many cores are enough. A smaller machine computes with what it has, and the verdict names it."""
    for cores in (8.0, 4.0):
        assert computing_variables(COMPUTING, cores) == {"CAPILLARY_THREADS": "4", "CAPILLARY_PROCESSES": "1"}
    for cores in (3.9, 2.0):
        assert computing_variables(COMPUTING, cores) == {}


def test_a_lock_without_data_is_empty() -> None:
    """A training by hand of somebody who has no dvc.lock."""
    assert data_lock(b"") == b"schema: '2.0'\nstages: {}\n"


@pytest.mark.parametrize("stages", ["x", "[1]", "5"])
def test_a_lock_of_another_form_is_refused(stages: str) -> None:
    """Before anything is laid out by it."""
    with pytest.raises(DataError, match="does not have the form"):
        data_lock(f"stages: {stages}\n".encode())
