"""The files of a registered model: what they hold, what a card says of them, and how MLflow's folder is made of them.

description.json and weights.safetensors are all that capillary reads. The rest of the folder is for people: with it
`mlflow models serve` and `mlflow.pyfunc.load_model` work without a checkout (served_model.py).

No torch is imported here, because who lists, publishes or fetches networks computes nothing.
"""

import contextlib
import hashlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.recipe import Recipe
from stages.common.networks.description import DESCRIPTION, WEIGHTS, ModelDescription
from stages.common.tracking.cards.card import ModelFile

if TYPE_CHECKING:
    from mlflow.types import Schema

FOLDER = "artifacts"  # where MLflow keeps them within a model's folder
_PINNED = ("torch", "monai", "numpy", "scipy", "mlflow", "pydantic", "safetensors", "pyyaml", "rich")
_STAGES = Path(__file__).parents[2]
# what served_model.py imports, directly or not
_TRAVELS = (
    *("__init__.py", "common/__init__.py", "common/atomic.py", "common/errors.py", "common/params.py"),
    *("common/program/__init__.py", "common/program/console.py", "common/program/messages.py"),
    *("common/text.py", "common/inference.py", "common/layout.py", "common/networks", "common/tiling"),
    *("common/imaging/__init__.py", "common/imaging/grid.py", "common/imaging/recipe.py", "common/imaging/zyx.py"),
    *(f"common/imaging/intensities/{name}.py" for name in ("__init__", "normalise", "percentiles")),
)


@dataclass(frozen=True, kw_only=True)
class Package:
    """A network ready for the registry: the contents of its files by name, and what they add up to."""

    contents: Mapping[str, bytes]
    description: ModelDescription
    weights_sha256: str

    @property
    def files(self) -> dict[str, ModelFile]:
        """What the card says of them."""
        return {name: file_of(content) for name, content in self.contents.items()}


def file_of(content: bytes) -> ModelFile:
    """What a card says of a file with `content`."""
    return ModelFile(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


@contextlib.contextmanager
def mlflow_folder(package: Package) -> Iterator[Path]:
    """A temporary folder with `package` as an MLflow model."""
    import mlflow.pyfunc  # here: who only reads models needs no MLflow flavour, and no torch for served_model
    from mlflow.models import ModelSignature

    with tempfile.TemporaryDirectory() as name, _quietly():
        from stages.common.tracking import served_model  # in the quiet: its class is defined at the import

        folder = Path(name)
        for file, content in package.contents.items():
            (folder / file).write_bytes(content)
        # a copy, because MLflow notes the path that it was given
        served = shutil.copy(served_model.__file__, folder)
        mlflow.pyfunc.save_model(
            str(folder / "model"),
            python_model=str(served),
            artifacts={"description": str(folder / DESCRIPTION), "weights": str(folder / WEIGHTS)},
            code_paths=[str(_travelling_code(folder))],
            signature=ModelSignature(_stacks("float64"), _stacks("uint8"), served_model.PARAMS),
            input_example=_example(package.description.preparation()),
            pip_requirements=pinned_requirements(),
        )
        yield folder / "model"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """MLflow advises on type hints and describes each file."""
    logger = logging.getLogger("mlflow.pyfunc")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(record=True):  # a filter would not hold: MLflow sets its own
            yield
    finally:
        logger.setLevel(level)


def _travelling_code(folder: Path) -> Path:
    stages = folder / "code" / "stages"
    for name in _TRAVELS:
        source, target = _STAGES / name, stages / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return stages


def _stacks(dtype: str) -> "Schema":
    """MLflow's word for a stack (z, y, x). It knows one type for each tensor: float64 holds what images do."""
    from mlflow.types import Schema, TensorSpec

    return Schema([TensorSpec(np.dtype(dtype), (-1, -1, -1))])


def _example(recipe: Recipe) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """A winding vessel in the noise of photons, and what a request must say of it."""
    z, y, x = np.indices((5, 16, 16))
    distance = np.hypot(z - 2, y - 8 - 4 * np.sin(x / 4))
    stack = np.random.default_rng(0).poisson(40 + 160 * np.exp(-(distance**2) / 4)).astype(np.float64)
    return stack, {"spacing_um": list(recipe.resample_to_um)} if recipe.resample_to_um else {}


def pinned_requirements() -> Sequence[str]:
    """What a consumer of the model needs, at the versions installed here."""
    return [f"{package}=={metadata.version(package).split('+')[0]}" for package in _PINNED]
