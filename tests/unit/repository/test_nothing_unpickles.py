"""No code of this repository unpickles, but for the one place that says so."""

import ast
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
        "pd.read_pickle",
    ),
    *("mlflow.pytorch.load_model", "mlflow.pyfunc.load_model", "mlflow.models.predict", "torch.jit.load"),
    *("torch.package.PackageImporter", "torch.export.load", "torch.hub.load", "runpy.run_path"),
}


def _program() -> list[Path]:
    return [
        file for room in ("capillary", "stages", "scripts", "services") for file in (REPOSITORY / room).rglob("*.py")
    ]


def _calls(file: Path) -> list[tuple[str, ast.Call]]:
    nodes = ast.walk(ast.parse(file.read_text()))
    return [(ast.unparse(node.func), node) for node in nodes if isinstance(node, ast.Call)]


def _keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(word.value) for word in call.keywords if word.arg == name), None)


def test_nothing_unpickles() -> None:
    """By name: pickle and its kin, and MLflow's loaders, which run what a model's folder holds."""
    found = [(file.name, name) for file in _program() for name, _ in _calls(file) if name in UNPICKLERS]
    assert found == []


def test_torch_reads_tensors_only() -> None:
    """Checkpoints admit no classes, the conversion a list of them; NumPy reads no objects anywhere."""
    loads = {
        str(file.relative_to(REPOSITORY)): _keyword(call, "weights_only")
        for file in _program()
        for name, call in _calls(file)
        if name == "torch.load"
    }
    assert loads == {CHECKPOINTS: True, ADMITTED: True}
    assert not any(_keyword(call, "allow_pickle") for file in _program() for _, call in _calls(file))


@pytest.mark.parametrize("name", ["safe_globals", "add_safe_globals"])
def test_classes_are_admitted_in_one_place(name: str) -> None:
    """And only while that file is read, never for the whole process."""
    found = {str(file.relative_to(REPOSITORY)) for file in _program() if f"{name}(" in file.read_text()}
    assert found == ({ADMITTED} if name == "safe_globals" else set())
