"""`python -m scripts.messages` lists each error message with its remedy and where it is raised."""

from pathlib import Path

import pytest

from scripts.messages import main

ERRORS = '''
LATER = "wait for it"

class StackError(Exception):
    def __init__(self, what, *, remedy, file=None): ...

class EmptyError(StackError):
    """Its base's arguments."""
'''
STACKS = """
from stages.errors import LATER, EmptyError, StackError

_AGAIN = "copy it again, then repeat"
REMEDIES = {"no such file": "correct its name"}

def damaged(path, reason) -> StackError:
    return StackError(f"the stack is damaged: {reason}", remedy=_AGAIN, file=path)

def read(path, size):
    if size == 0:
        raise damaged(path, f"it has {size} bytes")
    remedy = "name a file" if path else "name one"
    if size < 0:
        raise EmptyError("there is no stack", remedy=remedy)
    print(f"error: {path} is busy\\n  remedy: {LATER}")
    raise ValueError("not a stack")

def checks(name, value):
    yield "the disk is full", f"make {value:.1f} GB of it free"
    raise KeyError(name)
"""
LISTED = """\
stages/stacks.py:5
  no such file
  remedy: correct its name

stages/stacks.py:12
  the stack is damaged: it has {size} bytes
  remedy: copy it again, then repeat

stages/stacks.py:15
  there is no stack
  remedy: name a file | name one

stages/stacks.py:16
  error: {path} is busy
  remedy: wait for it

stages/stacks.py:17
  not a stack

stages/stacks.py:20
  the disk is full
  remedy: make {value} GB of it free
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small project with two modules."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "errors.py").write_text(ERRORS)
    (tmp_path / "stages" / "stacks.py").write_text(STACKS)
    return tmp_path


def test_each_message_is_listed_where_it_is_raised(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([], tree)
    assert capsys.readouterr().out == LISTED


def test_a_word_chooses_messages(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["DISK"], tree)
    assert capsys.readouterr().out == LISTED.split("\n\n")[-1]
