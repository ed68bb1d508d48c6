"""docs/adding-a-model.md, followed literally: its file, its line, its command."""

import contextlib
import io
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from stages.common.networks import catalogue
from tests.support.forks import without_this_repository
from tests.support.parts import REPOSITORY

PAGE = (REPOSITORY / "docs" / "adding-a-model.md").read_text()


def test_the_pages_file_and_line_make_a_network_that_keeps_the_rules(tmp_path: Path) -> None:
    """In a copy of the stages, so that the import and the place in the table are the page's too.

    Then the tests that the page names run there on the new name.
    """
    file, line = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (name,) = re.findall(r"`stages/common/networks/(\w+)\.py` has one function", PAGE)
    _copy(REPOSITORY / "stages", tmp_path / "stages")
    networks = tmp_path / "stages" / "common" / "networks"
    (networks / f"{name}.py").write_text(file)
    table = (networks / "catalogue.py").read_text()
    table = table.replace("networks import dynunet", f"networks import {name}, dynunet")
    (networks / "catalogue.py").write_text(re.sub(r"(ARCHITECTURES: .*= \{\n)", lambda start: start[1] + line, table))

    # the file alone: its conftest.py is about other tests
    tests = shutil.copy(Path(__file__).with_name("test_architectures.py"), tmp_path)
    code, said = without_this_repository(tmp_path, lambda: _run_tests(tests, name))
    assert code == 0, said[-3000:]
    assert re.search(r"\d\d passed", said)
    assert name not in catalogue.ARCHITECTURES


def _run_tests(tests: str, name: str) -> tuple[int, str]:
    """pytest's exit code and what it prints, where the copy is found first."""
    sys.path.insert(0, str(Path.cwd()))
    # without the plugins of installed packages, which it does not need
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for plugin in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(plugin, None)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = pytest.main(["-q", "--rootdir=.", "-p", "no:cacheprovider", "-k", name, str(tests)])
    return int(code), said.getvalue()


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*.py"):
        (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        (target / path.relative_to(source)).write_text(path.read_text())


def test_the_pages_commands_exist() -> None:
    """The recipe in the justfile, the file of tests that its word chooses."""
    ((recipe, word),) = re.findall(r"\./just (\S+) -k (\S+)\n", PAGE)
    assert re.search(rf"^{recipe} ", (REPOSITORY / "justfile").read_text(), flags=re.MULTILINE)
    assert word in Path(__file__).with_name("test_architectures.py").stem
