"""Programs of the images below services/, which no package holds."""

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

import pytest

from tests.support.parts import REPOSITORY

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """A program below services/ as a module, and its neighbours as it imports them."""

    def load(name: str) -> ModuleType:
        file = REPOSITORY / "services" / name
        monkeypatch.syspath_prepend(str(file.parent))
        for neighbour in file.parent.glob("*.py"):
            monkeypatch.delitem(sys.modules, neighbour.stem, raising=False)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


class BecameError(Exception):
    """Where a program would be replaced by another one."""

    def __init__(self, argv: list[str], variables: dict[str, str]) -> None:
        super().__init__(argv)
        self.argv = argv
        self.variables = variables


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> type[BecameError]:
    """Raised in place of the start of the program that an entrypoint becomes."""

    def execvpe(file: str, argv: list[str], variables: dict[str, str]) -> NoReturn:
        assert file == argv[0]
        raise BecameError(argv, variables)

    def execvp(file: str, argv: list[str]) -> NoReturn:
        execvpe(file, argv, {})

    monkeypatch.setattr("os.execvpe", execvpe)
    monkeypatch.setattr("os.execvp", execvp)
    return BecameError
