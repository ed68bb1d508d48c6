"""Kills at the moments in which DVC writes its own files."""

import io
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dvc import rwlock
from dvc.fs import localfs
from dvc.utils import strictyaml
from dvc.utils.serialize import _common, _yaml

from capillary.dvc import command as dvc_module
from capillary.dvc.command import WholeFiles, replace_file
from capillary.dvc.commands import KILL_SAFE_DVC
from capillary.publishing.leftovers import remove_torn
from tests.support.parts import REPOSITORY, command_environment
from tests.support.repository import start_dvc


def test_a_file_is_written_as_dvc_writes_it(tmp_path: Path) -> None:
    """Byte for byte."""
    data = {"schema": "2.0", "stages": {"a@b": {"cmd": "x", "deps": [{"path": "µ", "size": 3}]}}}
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    _yaml.dump_yaml(str(theirs), data)
    replace_file(str(ours), data, _yaml._dump)
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_write_that_is_cut_short_leaves_the_former_file(tmp_path: Path) -> None:
    """Whole, and with nothing next to it."""
    file = tmp_path / "dvc.lock"
    file.write_text("former")

    def killed(_data: Any, stream: io.StringIO) -> None:
        stream.write("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(str(file), {}, killed)
    assert file.read_text() == "former"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("files", "is_whole"), [(WholeFiles(localfs), True), (localfs, False)])
def test_the_list_of_paths_in_use_is_whole_whenever_dvc_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Any, is_whole: bool
) -> None:
    """DVC by itself leaves half of it, with which no other DVC in the project does anything."""
    former = {"write": {}, "read": {"/data": [{"pid": 1, "cmd": "repro"}]}}
    (tmp_path / "rwlock").write_text(json.dumps(former))

    def killed(_lock: Any, stream: io.StringIO) -> None:
        stream.write('{"write": {')
        raise KeyboardInterrupt

    with monkeypatch.context() as now:
        now.setattr(rwlock.json, "dump", killed)
        edited = rwlock._edit_rwlock(str(tmp_path), files, False)
        edited.__enter__()
        with pytest.raises(KeyboardInterrupt):
            edited.__exit__(None, None, None)
    assert ((tmp_path / "rwlock").read_text() == json.dumps(former)) == is_whole
    if not is_whole:
        return
    with rwlock.rwlock(str(tmp_path), files, "repro", [], ["/out"], False):
        assert "/out" in json.loads((tmp_path / "rwlock").read_text())["write"]
    assert json.loads((tmp_path / "rwlock").read_text())["read"] == former["read"]


def test_the_command_line_is_dvcs(tmp_path: Path) -> None:
    """As cells start it, with the writing exchanged: a stage that ran is recorded."""
    start_dvc(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'echo 1 > out', outs: [out]}}\n")
    environment = command_environment(PYTHONPATH=str(REPOSITORY))
    subprocess.run([*KILL_SAFE_DVC, "repro", "-q"], cwd=tmp_path, env=environment, check=True)
    assert "out" in (tmp_path / "dvc.lock").read_text()


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """DVC's two modules that write its files; what is exchanged in DVC is as it was again after the test."""
    monkeypatch.setattr(rwlock, "_edit_rwlock", rwlock._edit_rwlock)
    for module in (_common, _yaml):
        monkeypatch.setattr(module, "_dump_data", module._dump_data)
    for module in (_yaml, strictyaml):
        monkeypatch.setattr(module, "parse_yaml", module.parse_yaml)
    return _common, _yaml


def test_both_of_dvcs_writers_are_exchanged(
    writers: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before DVC starts, whose exit code it is."""

    def start() -> int:
        assert [module._dump_data for module in writers] == [replace_file] * 2
        return 7

    monkeypatch.setattr(dvc_module, "dvc_main", start)
    with pytest.raises(SystemExit) as ended:
        dvc_module.main()
    assert ended.value.code == 7


def test_both_of_dvcs_readers_are_exchanged(
    writers: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DVC that reads elsewhere is refused, too."""
    usual = strictyaml.parse_yaml
    monkeypatch.setattr(dvc_module, "dvc_main", lambda: 0)
    with pytest.raises(SystemExit):
        dvc_module.main()
    assert usual not in (strictyaml.parse_yaml, _yaml.parse_yaml)
    monkeypatch.delattr(strictyaml, "parse_yaml")
    with pytest.raises(ImportError, match="strictyaml has no parse_yaml"):
        dvc_module.main()


def test_a_dvc_that_writes_elsewhere_is_refused(
    writers: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version that would write in place again must not run unnoticed."""
    monkeypatch.setattr(dvc_module, "dvc_main", lambda: 0)
    monkeypatch.delattr(writers[1], "_dump_data")
    with pytest.raises(ImportError, match=r"_yaml has no _dump_data"):
        dvc_module.main()


@pytest.mark.parametrize(("text", "stays"), [("{}", True), ('{"read": {"/a', False), ("", False), (None, False)])
def test_only_a_torn_list_of_who_is_busy_is_removed(tmp_path: Path, text: str | None, stays: bool) -> None:
    """One that can be read may protect somebody."""
    file = tmp_path / ".dvc" / "tmp" / "rwlock"
    file.parent.mkdir(parents=True)
    if text is not None:
        file.write_text(text)
    remove_torn(tmp_path)
    assert file.exists() is stays
