"""dvc.yaml tells the truth: a stage's declared deps, params and requirements are those that its code has."""

import ast
import functools
import importlib
import itertools
import re
import sys
from pathlib import Path

import pytest
import yaml

from capillary.params_file import leaf_keys
from tests.support.parts import REPOSITORY

ENTRIES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
# entries that run another stage than that of their name, with the class of its params
RUNS = {"train_seed": ("train", "TrainSeedParams")}
# a gate has no entry of its own, but an image and code like any stage
STAGES = [*(name for name in ENTRIES if name not in RUNS), "preflight"]
# stages that run in the image of another one
GUESTS = {"evaluate": ["predict", "models", "convert", "weights", "bioimageio", "sync", "report"]}
# distribution → the modules that it provides, where the names differ
PROVIDES = {
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "nvidia-ml-py": "pynvml",
    "pillow": "PIL",
    "pynrrd": "nrrd",
    "python-dateutil": "dateutil",
}
# loaded by name at run time: fsspec's file systems, tifffile's codecs, pandas' Parquet engine, system metrics
LOADED_BY_NAME = {"s3fs", "aiohttp", "imagecodecs", "pyarrow", "requests", "psutil", "sqlalchemy", "nvidia-ml-py"}


def _module_file(module: str) -> Path | None:
    base = REPOSITORY / Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _imports(file: Path) -> set[str]:
    """Names of modules that `file` imports, anywhere in it; `from a import b` counts as a and, if a module, a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _closure(stage: str) -> tuple[set[Path], set[str]]:
    """Files of this repository that a stage imports, directly or not, and the outside packages that these import."""
    todo = sorted((REPOSITORY / "stages" / stage).rglob("*.py"))
    files, packages = set(todo), set()
    while todo:
        for name in _imports(todo.pop()):
            if name.split(".")[0] not in {"stages", "capillary"}:
                packages.add(name.split(".")[0])
            elif (file := _module_file(name)) is not None:
                parents = [_module_file(".".join(name.split(".")[:end])) for end in range(1, len(name.split(".")))]
                new = {path for path in (file, *parents) if path is not None} - files
                files |= new
                todo += new
    return files, packages


@pytest.mark.parametrize("stage", ENTRIES)
def test_declared_code_is_the_import_closure(stage: str) -> None:
    """Every module that a stage imports is a dep, and no module is a dep, alone or in a folder, that it does not."""
    declared = [REPOSITORY / dep for dep in ENTRIES[stage]["deps"] if dep.startswith("stages/")]
    files, _ = _closure(RUNS.get(stage, (stage,))[0])
    assert (
        set(itertools.chain.from_iterable(path.rglob("*.py") if path.is_dir() else [path] for path in declared))
        == files
    )


@pytest.mark.parametrize("stage", [*STAGES, *itertools.chain(*GUESTS.values())])
def test_a_stage_imports_itself_and_common_only(stage: str) -> None:
    """Imports point down: no stage imports another stage or the host side."""
    files, _ = _closure(stage)
    folders = {file.relative_to(REPOSITORY).parts[:2] for file in files} - {("stages", "__init__.py")}
    assert folders <= {("stages", stage), ("stages", "common")}


@pytest.mark.parametrize("stage", ENTRIES)
def test_declared_params_are_the_stage_model_s_fields(stage: str) -> None:
    """The keys in dvc.yaml are exactly those of the stage's params model: none unseen, none undeclared."""
    name, kind = RUNS.get(stage, (stage, f"{stage.capitalize()}Params"))
    model = getattr(importlib.import_module(f"stages.{name}.params"), kind)
    fields = {
        f"{section}.{key}" for section, field in model.model_fields.items() for key in field.annotation.model_fields
    }
    assert set(ENTRIES[stage]["params"]) == fields


@pytest.mark.parametrize("stage", [name for name in ENTRIES if name not in RUNS])
def test_required_templates_repeat_the_params(stage: str) -> None:
    """meta.required names every declared key that a template can hold, so that DVC refuses a missing one early."""
    templates = {re.sub(r"^\$\{(.*?)(\[0\])?\}$", r"\1", text) for text in ENTRIES[stage]["meta"]["required"]}
    cannot_repeat = {"ingest.ignore_value", "ingest.channel", "ingest.level_um"}
    cannot_repeat |= {"preprocess.resample_to_um", "preprocess.max_volumes"}
    cannot_repeat |= {"preprocess.test_groups", "training.seeds"}
    cannot_repeat |= {"evaluation.min_component_um3", "ingest.label"}  # the latter may be a mapping
    assert templates == set(ENTRIES[stage]["params"]) - cannot_repeat


def test_every_key_of_params_yaml_is_declared() -> None:
    """params.yaml holds no dead setting."""
    keys = set(leaf_keys(yaml.safe_load((REPOSITORY / "params.yaml").read_text())))
    assert keys == {key for entry in ENTRIES.values() for key in entry["params"]}


@pytest.mark.parametrize("stage", STAGES)
def test_requirements_are_what_the_stage_imports(stage: str) -> None:
    """Each outside package that the stages of an image import is pinned in its requirements.txt, as in the lock."""
    lines = (REPOSITORY / "stages" / stage / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line.strip() and not line.startswith(("#", "-")))
    lock = (REPOSITORY / "constraints.txt").read_text().splitlines()
    locked = {tuple(line.split(";")[0].strip().split("==")) for line in lock if "==" in line}
    assert {(name.split("[")[0], version) for name, version in pins.items()} <= locked
    packages = {package for each in (stage, *GUESTS.get(stage, [])) for package in _closure(each)[1]}
    outside = packages - sys.stdlib_module_names
    provided = {PROVIDES.get(name.split("[")[0], name.split("[")[0].replace("-", "_")) for name in pins}
    assert outside <= provided
    assert provided - outside <= {PROVIDES.get(name, name) for name in LOADED_BY_NAME}
