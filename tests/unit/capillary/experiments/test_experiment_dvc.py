"""Kills at the moments in which DVC writes its own files."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import _yaml

from capillary.experiments.dvc import replace_file
from capillary.launcher.leftovers import remove_torn
from tests.support.parts import REPOSITORY, command_environment


def test_a_file_is_written_as_dvc_writes_it(tmp_path: Path) -> None:
    """Byte for byte."""
    data = {"schema": "2.0", "stages": {"a@b": {"cmd": "x", "deps": [{"path": "µ", "size": 3}]}}}
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    _yaml.dump_yaml(str(theirs), data)
    replace_file(str(ours), data, _yaml._dump)
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_write_that_is_cut_short_leaves_the_former_file(tmp_path: Path) -> None:
    """Whole, and with nothing beside it."""
    file = tmp_path / "dvc.lock"
    file.write_text("former")

    def killed(_data: Any, stream: io.StringIO) -> None:
        stream.write("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(str(file), {}, killed)
    assert file.read_text() == "former"
    assert list(tmp_path.iterdir()) == [file]


def test_the_command_line_is_dvcs(tmp_path: Path) -> None:
    """With the writing exchanged: a stage that ran is recorded."""
    run = {"cwd": tmp_path, "env": command_environment(PYTHONPATH=str(REPOSITORY)), "check": True}
    dvc = [sys.executable, "-m", "capillary.experiments.dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], **run)
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'echo 1 > out', outs: [out]}}\n")
    subprocess.run([*dvc, "repro", "-q"], **run)
    assert "out" in (tmp_path / "dvc.lock").read_text()


@pytest.mark.parametrize(("text", "stays"), [("{}", True), ('{"read": {"/a', False), ("", False), (None, False)])
def test_only_a_torn_list_of_who_is_busy_is_removed(tmp_path: Path, text: str | None, stays: bool) -> None:
    """One that can be read may protect somebody."""
    file = tmp_path / ".dvc" / "tmp" / "rwlock"
    file.parent.mkdir(parents=True)
    if text is not None:
        file.write_text(text)
    remove_torn(tmp_path)
    assert file.exists() is stays
