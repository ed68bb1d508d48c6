"""samples/iris tells the truth: what its files declare is what its stages import, read and hold."""

import ast
import itertools
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dvc.ignore import DvcIgnoreFilter
from dvc.repo import Repo
from sklearn.datasets import load_iris

from capillary.params_file import check_params
from capillary.planning.access import read_access
from tests.support.parts import REPOSITORY

IRIS = REPOSITORY / "samples" / "iris"
ENTRIES = yaml.safe_load((IRIS / "dvc.yaml").read_text())["stages"]
PROVIDES = {"pyyaml": "yaml", "scikit-learn": "sklearn", "mlflow-skinny": "mlflow"}
# what MLflow's embedded store loads
LOADED_BY_NAME = {"alembic", "sqlalchemy"}


def _imports(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def _closure(stage: str) -> tuple[set[Path], set[str]]:
    """Files that a stage imports, directly or not, and outside packages."""
    todo = sorted((IRIS / "stages" / stage).glob("*.py"))
    files = {*todo, IRIS / "stages" / "__init__.py", IRIS / "stages" / "common" / "__init__.py"}
    packages = set()
    while todo:
        for name in _imports(todo.pop()):
            file = IRIS.joinpath(*name.split(".")).with_suffix(".py")
            if not name.startswith("stages."):
                packages.add(name.split(".")[0])
            elif file not in files:
                files.add(file)
                todo.append(file)
    return files, packages


@pytest.mark.parametrize("stage", ENTRIES)
def test_declared_code_is_what_a_stage_imports(stage: str) -> None:
    """A container sees nothing else; and what it does not import must not make it run again."""
    declared = [IRIS / dep for dep in ENTRIES[stage]["deps"] if dep.startswith("stages/")]
    found = itertools.chain.from_iterable(dep.glob("*.py") if dep.is_dir() else [dep] for dep in declared)
    assert set(found) == _closure(stage)[0]


@pytest.mark.parametrize("stage", ["validate", "train"])
def test_an_image_holds_what_its_stages_import(stage: str) -> None:
    """As pinned in the sample's lock, which has the versions of the repository's own."""
    sharing = [name for name in ENTRIES if (read_access(IRIS, name).image or name) == stage]
    pins = _lines(IRIS / "stages" / stage / "requirements.txt")
    imported = set.union(*(_closure(name)[1] for name in sharing)) - sys.stdlib_module_names
    names = {pin.split("==")[0] for pin in pins}
    held = {PROVIDES.get(name, name) for name in names}
    assert imported <= held
    assert held - imported <= LOADED_BY_NAME
    assert pins <= _lines(IRIS / "constraints.txt") <= _lines(REPOSITORY / "constraints.txt")


def _lines(file: Path) -> set[str]:
    """Its requirements, without what they depend on."""
    return {line.split(" ;")[0] for line in file.read_text().splitlines() if not line.startswith("#")}


def test_its_params_are_right() -> None:
    """A copy runs as it is."""
    check_params(IRIS)


def test_the_table_is_scikit_learn_s() -> None:
    """Number for number; only the columns have other names."""
    known, ours = load_iris(as_frame=True), pd.read_csv(IRIS / "source" / "iris.csv")
    assert (ours.iloc[:, :4].to_numpy() == known.data.to_numpy()).all()
    assert ours["species"].tolist() == [known.target_names[kind] for kind in known.target]


def test_the_root_project_never_sees_it() -> None:
    """A second dvc.yaml in one DVC repository would dirty the root's status, and a clone's pull would fail."""
    repo = Repo(str(REPOSITORY))
    ignore: DvcIgnoreFilter = repo.dvcignore
    assert ignore.is_ignored_dir(str(IRIS))
    assert (IRIS / ".dvc" / "config").is_file()
    # nor does the rule leave out more than it says
    assert not ignore.is_ignored_dir(str(REPOSITORY / "samples" / "phantom"))
