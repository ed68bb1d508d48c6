"""One comment per pull request, kept up to date. A stand-in for `gh` notes what it is asked."""

import json
from pathlib import Path

import pytest

from scripts.ci.comment import AUTHOR, LONGEST, main

MARKER = "<!-- capillary: comparison -->"
GH = """#!/bin/sh
printf '%s\\n' "$*" >> "$GH_FOLDER/asked"
case "$*" in *--paginate*) cat "$GH_FOLDER/comments" ;; *) cat > "$GH_FOLDER/sent" ;; esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in keeps what it was asked; on PATH before any real one."""
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "comments").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("GH_FOLDER", str(tmp_path))
    return tmp_path


def _comments(folder: Path, *comments: tuple[int, str, str]) -> None:
    lines = [json.dumps({"id": number, "author": author, "body": body}) for number, author, body in comments]
    (folder / "comments").write_text("".join(f"{line}\n" for line in lines))


def _put(folder: Path, body: str) -> int:
    (folder / "body.md").write_text(body)
    return main(["--repository", "lab/vessels", "--pull-request", "12", "--body", str(folder / "body.md")])


def _asked(folder: Path) -> str:
    return (folder / "asked").read_text().splitlines()[-1]


def test_the_first_comment_is_written(folder: Path) -> None:
    """Without one of its own, a new comment."""
    _comments(folder, (1, "somebody", "hello"))
    assert _put(folder, f"{MARKER}\ntext\n") == 0
    assert _asked(folder) == "api --method POST repos/lab/vessels/issues/12/comments --input -"
    assert json.loads((folder / "sent").read_text()) == {"body": f"{MARKER}\ntext\n"}


def test_the_next_one_edits_it(folder: Path) -> None:
    """The conversation gets one comment, however many commits are pushed."""
    _comments(folder, (1, "somebody", "hello"), (7, AUTHOR, f"{MARKER}\nold"), (8, AUTHOR, "another marker"))
    assert _put(folder, f"{MARKER}\nnew\n") == 0
    assert _asked(folder) == "api --method PATCH repos/lab/vessels/issues/comments/7 --input -"


def test_nobody_else_s_comment_is_edited(folder: Path) -> None:
    """Anybody can write a marker."""
    _comments(folder, (7, "somebody", f"{MARKER}\nmine"))
    assert _put(folder, f"{MARKER}\nnew\n") == 0
    assert "POST" in _asked(folder)


def test_a_comment_that_is_too_long_is_cut(folder: Path) -> None:
    """GitHub would refuse it whole."""
    assert _put(folder, f"{MARKER}\n{'x' * LONGEST}") == 0
    sent = json.loads((folder / "sent").read_text())["body"]
    assert len(sent) == LONGEST
    assert "was cut" in sent


def test_a_body_without_a_marker_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It could never be found again."""
    assert _put(folder, "text") == 2
    assert "remedy: begin the file with a line such as <!-- " in capsys.readouterr().err
