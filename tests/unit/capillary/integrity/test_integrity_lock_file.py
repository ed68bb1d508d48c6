"""dvc.lock: cut or garbled, it is refused by name before anything is planned; whole, in any state, it is taken."""

import subprocess
from pathlib import Path

import pytest

from capillary.integrity import lock_file as module
from capillary.integrity.lock_file import refuse_damaged_lock
from stages.common.errors import DamagedError, ExitCode

ONE = """  one:
    cmd: capillary stage one
    outs:
    - path: data/one
      hash: md5
      md5: c37f8bc8917fdf64a45bb6010380cdab.dir
      size: 4
      nfiles: 2
"""
TWO = """  train@dice_ce-0:
    cmd:
    - capillary stage preflight
    - capillary stage train --loss dice_ce --fold 0
    deps:
    - path: data/one
      hash: md5
      md5: c37f8bc8917fdf64a45bb6010380cdab.dir
      size: 4
      nfiles: 2
    - path: https://example.org/x
      etag: '"1"'
      size: 3
    params:
      params.yaml:
        training.seed: 1
    outs:
    - path: models/dice_ce/fold_0.json
      hash: md5
      md5: b026324c6904b2a9cb4b88d6d61c81d1
      size: 2
"""
HEAD = "schema: '2.0'\nstages:\n"
WHOLE = HEAD + ONE + TWO


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that is not a Git repository; nobody waits for a DVC that writes."""
    monkeypatch.setattr(module, "_PAUSES_S", (0.0,))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "dvc.yaml").write_text(
        "stages: {one: {outs: [x]}, train: {matrix: {}, metrics: [y]}, look: {cmd: z}}\n"
    )
    return tmp_path


@pytest.fixture
def committed(root: Path) -> Path:
    """The same with the whole dvc.lock committed."""
    (root / "dvc.lock").write_text(WHOLE)
    for argv in (
        ["init", "-q"],
        ["add", "dvc.lock"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *argv], cwd=root, check=True)
    return root


DATASETS = "datasets:\n- name: x\n  url: file:///x\n  type: url\n"


@pytest.mark.parametrize(
    "text",
    [WHOLE, HEAD + TWO, HEAD + ONE, "schema: '2.0'\nstages: {}\n", f"schema: '2.0'\n{DATASETS}", WHOLE + DATASETS],
)
def test_a_whole_file_is_taken(committed: Path, text: str) -> None:
    """Also one with fewer stages than the commit's, as it is in the middle of a run; `dvc ds` adds more."""
    (committed / "dvc.lock").write_text(text)
    refuse_damaged_lock(committed)


def test_no_file_is_no_damage(committed: Path) -> None:
    """Nothing has run yet, or the user removed it on purpose."""
    (committed / "dvc.lock").unlink()
    refuse_damaged_lock(committed)


def test_stages_that_the_commit_has_and_the_file_lacks_are_told(committed: Path) -> None:
    """A cut between two stages is not damage to see, but what it costs is said."""
    assert module.forgotten(committed) == []
    (committed / "dvc.lock").write_text(HEAD + ONE)
    assert module.forgotten(committed) == ["train@dice_ce-0"]
    (committed / "dvc.lock").unlink()
    assert module.forgotten(committed) == ["one", "train@dice_ce-0"]


def test_a_stage_of_the_user_s_own_may_make_nothing(root: Path) -> None:
    """Nothing is missing from the record of a stage that declares no out."""
    (root / "dvc.lock").write_text(HEAD + ONE + "  look:\n    cmd: capillary stage look\n")
    refuse_damaged_lock(root)


def _cuts(text: str) -> list[int]:
    """Every place to cut but those between two stages, which make a smaller whole file."""
    between = {len(HEAD) + len(ONE), len(WHOLE)}
    return [end for end in range(len(text)) if end not in between]


def test_a_committed_file_cut_anywhere_is_refused(committed: Path) -> None:
    """Whatever byte is its last: by its form, or because the commit's continues within the same stage."""
    missed = [end for end in _cuts(WHOLE)[::23] if not _is_refused(committed, WHOLE[:end])]
    assert missed == []


def test_a_file_cut_in_a_line_or_within_a_record_is_refused_without_git(root: Path) -> None:
    """Then only a cut between two files of a stage's list, and one between two stages, cannot be seen."""
    middle = WHOLE.index("    - path: https")
    seen = [end for end in _cuts(WHOLE) if WHOLE[end - 1] != "\n"]
    assert all(_is_refused(root, WHOLE[:end]) for end in seen[::7])
    for end in (middle, WHOLE.index("    params:"), WHOLE.index("    outs:\n    - path: models")):
        assert _is_refused(root, WHOLE[:end])  # dvc.yaml declares something that this stage makes


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\0" * 300,
        b"\xff\xfe\x00garbage\n",
        b"stages: [1, 2]\nschema: x\n",
        b"just words\n",
        b"<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> theirs\n",
        WHOLE.replace("    cmd:\n", "\tcmd:\n").encode(),
        WHOLE.replace("      md5: b026324c6904b2a9cb4b88d6d61c81d1\n      size: 2\n", "").encode(),
    ],
)
def test_a_garbled_file_is_named_with_its_fault_and_a_remedy_and_left_as_it_is(root: Path, content: bytes) -> None:
    """The user may still want to look at it, or repair it."""
    (root / "dvc.lock").write_bytes(content)
    with pytest.raises(DamagedError) as refused:
        refuse_damaged_lock(root)
    error = refused.value
    assert error.what.startswith("dvc.lock ")
    assert error.file == root / "dvc.lock"
    assert "git restore dvc.lock" in error.remedy
    assert error.code == ExitCode.DATA
    assert (root / "dvc.lock").read_bytes() == content


def test_a_file_that_dvc_writes_meanwhile_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another training ends: DVC has emptied the file and fills it."""
    (root / "dvc.lock").write_text("")
    monkeypatch.setattr("capillary.integrity.lock_file.time.sleep", lambda _: (root / "dvc.lock").write_text(WHOLE))
    refuse_damaged_lock(root)


def _is_refused(root: Path, text: str) -> bool:
    (root / "dvc.lock").write_text(text)
    try:
        refuse_damaged_lock(root)
    except DamagedError:
        return True
    return False
