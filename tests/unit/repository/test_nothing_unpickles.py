"""No code of this repository unpickles, but for the one place that says so."""

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.parts import REPOSITORY

# torch.load is called in these; both times with weights_only
CHECKPOINTS, ADMITTED = "stages/train/resuming/checkpoint.py", "stages/convert/admitted.py"
# what runs code from a file that it reads; torch.load is looked at by itself
UNPICKLERS = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "joblib.load"),
    *(
        "dill.load",
        "dill.loads",
        "shelve.open",
        "marshal.load",
        "marshal.loads",
        "pandas.read_pickle",
    ),
    *("mlflow.pytorch.load_model", "mlflow.pyfunc.load_model", "mlflow.models.predict", "torch.jit.load"),
    *("torch.package.PackageImporter", "torch.export.load", "torch.hub.load", "runpy.run_path"),
}


# other names of the same
SAME = {f"_pickle.{name}": f"pickle.{name}" for name in ("load", "loads", "Unpickler")}
ROOMS = ("capillary", "stages", "serving", "scripts", "services")


def _program() -> list[Path]:
    return [file for room in ROOMS for file in (REPOSITORY / room).rglob("*.py")]


@functools.cache
def _calls_of(file: Path) -> list[tuple[str, ast.Call]]:
    return _calls(file.read_text())


def _calls(text: str) -> list[tuple[str, ast.Call]]:
    """(the full name of what is called, the call), whatever names the file gives to what it imports."""
    nodes = list(ast.walk(ast.parse(text)))
    known = {name: full for node in nodes for name, full in _imported(node)}
    return [(_full_name(ast.unparse(node.func), known), node) for node in nodes if isinstance(node, ast.Call)]


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """(the name in the file, the full one) of what `node` imports, if it does."""
    if isinstance(node, ast.Import):
        yield from ((one.asname, one.name) for one in node.names if one.asname)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield from ((one.asname or one.name, f"{node.module}.{one.name}") for one in node.names)


def _full_name(name: str, known: Mapping[str, str]) -> str:
    first, dot, rest = name.partition(".")
    return SAME.get(full := known.get(first, first) + dot + rest, full)


def _keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(word.value) for word in call.keywords if word.arg == name), None)


def test_nothing_unpickles() -> None:
    """By name: pickle and its kin, and MLflow's loaders, which run what a model's folder holds."""
    found = [(file.name, name) for file in _program() for name, _ in _calls_of(file) if name in UNPICKLERS]
    assert found == []


def test_no_room_is_left_out() -> None:
    """A new folder with code of the program has to be named here."""
    tests = {"tests", "benchmarks", "samples", "notebooks"}  # they run nowhere but here
    found = {file.relative_to(REPOSITORY).parts[0] for file in REPOSITORY.glob("*/__init__.py")}
    assert found - tests <= set(ROOMS)


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\npickle.loads(x)",
        "import pickle as p\np.loads(x)",
        "from pickle import loads\nloads(x)",
        "from pickle import loads as l\nl(x)",
        "def f():\n    from pickle import Unpickler as U\n    U(x).load()",
        "import _pickle\n_pickle.loads(x)",
        "import pandas as pd\npd.read_pickle(x)",
        "from mlflow import pyfunc as f\nf.load_model(x)",
        "import mlflow.pytorch as m\nm.load_model(x)",
        "from torch import jit\njit.load(x)",
    ],
)
def test_a_call_is_known_by_any_name(text: str) -> None:
    """That of the module, of the function, or one that the file gives it."""
    assert UNPICKLERS & {name for name, _ in _calls(text)}


def test_torch_reads_tensors_only() -> None:
    """Checkpoints admit no classes, the conversion a list of them; NumPy reads no objects anywhere."""
    loads = {
        str(file.relative_to(REPOSITORY)): _keyword(call, "weights_only")
        for file in _program()
        for name, call in _calls_of(file)
        if name == "torch.load"
    }
    assert loads == {CHECKPOINTS: True, ADMITTED: True}
    assert not any(_keyword(call, "allow_pickle") for file in _program() for _, call in _calls_of(file))


@pytest.mark.parametrize("name", ["safe_globals", "add_safe_globals"])
def test_classes_are_admitted_in_one_place(name: str) -> None:
    """And only while that file is read, never for the whole process."""
    found = {str(file.relative_to(REPOSITORY)) for file in _program() if f"{name}(" in file.read_text()}
    assert found == ({ADMITTED} if name == "safe_globals" else set())
