"""A registered model's files are those of its card or are not read; everything else in its folder is never run."""

import dataclasses
import io
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.common.errors import CapillaryError, DataError
from stages.common.inference import predict_probability
from stages.common.networks.description import DESCRIPTION, WEIGHTS
from stages.common.networks.weights import weights_sha256
from stages.common.packing import pack
from stages.common.tracking.cards.card import ModelCard, ModelFile
from stages.common.tracking.model_files import FOLDER, file_of, mlflow_folder
from stages.common.tracking.registry import register_model
from tests.support.forks import without_this_repository
from tests.support.models.networks import card_of, description_of, package_of, random_network
from tests.support.models.pickled import Planted
from tests.support.parts import REPOSITORY
from tests.support.tracking.tracked import PlainRun, embedded_runtime, load, plain_run


@pytest.fixture(scope="module")
def run(store: Path) -> PlainRun:
    """The run of the registered network."""
    return plain_run(embedded_runtime(store, fingerprint="model files"))


@pytest.fixture(scope="module")
def version(run: PlainRun) -> tuple[ModelCard, Path]:
    """The card of a registered network, and the folder of its version."""
    model = random_network()
    named = register_model(
        package_of(model), server=run.server, run_id=run.run_id, loss="model_files", fold=0, fingerprint="f"
    )
    return card_of(model, loss="model_files"), Path(run.server.client.get_model_version(*named).source)


@pytest.fixture
def registered(version: tuple[ModelCard, Path], tmp_path: Path) -> Iterator[tuple[ModelCard, Path]]:
    """The same, to be damaged: the folder is whole again after the test."""
    card, folder = version
    whole = shutil.copytree(folder, tmp_path / "whole")
    yield card, folder
    shutil.rmtree(folder)
    shutil.copytree(whole, folder)


def test_code_that_was_planted_anywhere_in_a_version_is_not_run(
    run: PlainRun, registered: tuple[ModelCard, Path], tmp_path: Path
) -> None:
    """Every file but the two is replaced by one that leaves a mark when it is unpickled, imported or executed."""
    card, folder = registered
    marker = tmp_path / "planted"
    code = f"open({str(marker)!r}, 'w').close()\n"
    buffer = io.BytesIO()
    torch.save(Planted(marker), buffer)
    read = {folder / FOLDER / DESCRIPTION, folder / FOLDER / WEIGHTS}
    for file in [path for path in folder.rglob("*") if path.is_file() and path not in read]:
        file.write_text(code)
    for name in ("data/model.pth", "model.pth", "artifacts/extra.pth", "python_model.pkl"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(buffer.getvalue())
    (folder / "data" / "pickle_module_info.txt").write_text("planted")
    (folder / "code" / "planted.py").write_text(code)
    flavours = "flavors:\n  python_function: {loader_module: planted, code: code, python_model: python_model.pkl}\n"
    (folder / "MLmodel").write_text(flavours + "  pytorch: {code: code, model_data: data, pytorch_version: 2.13.0}\n")
    assert weights_sha256(load(card, run.server)) == card.weights_sha256
    assert not marker.exists()
    assert "planted" not in sys.modules
    assert pickle.loads(pickle.dumps(Planted(marker))) is None  # that the trap works
    assert marker.exists()


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "changed": (_flip, "does not match the model's card"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-1]), "does not match the model's card"),
    "grown": (lambda file: file.write_bytes(file.read_bytes() + b"\0"), "larger than allowed"),
    "gone": (lambda file: file.unlink(), "there is no such file"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "it is not a file"),
}


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_is_not_the_cards_is_refused(
    run: PlainRun, registered: tuple[ModelCard, Path], name: str, how: str
) -> None:
    """The error names version, file, server; where a hash differs also the card, both hashes and the way out."""
    card, folder = registered
    file = folder / FOLDER / name
    before = file_of(file.read_bytes())
    spoil, text = SPOILT[how]
    spoil(file)
    with pytest.raises(DataError, match=text) as caught:
        load(card, run.server)
    assert name in caught.value.what
    assert run.server.uri in caught.value.what
    if "model's card" in text:
        found = file_of(file.read_bytes())
        assert before.sha256 in str(caught.value.value)
        assert found.sha256 in str(caught.value.value)
        assert caught.value.file == f"models/{card.loss}/fold_0.json"
        assert f"dvc repro -f -s train@{card.loss}-0" in caught.value.remedy


def test_weights_that_the_description_cannot_need_are_not_fetched(
    run: PlainRun, registered: tuple[ModelCard, Path]
) -> None:
    """A card that promises terabytes is refused before the download."""
    card, folder = registered
    (folder / FOLDER / WEIGHTS).unlink()  # a fetch would say so
    huge = {**card.files, WEIGHTS: ModelFile(sha256="0" * 64, bytes=1 << 42)}
    with pytest.raises(DataError, match="larger than its description allows"):
        load(dataclasses.replace(card, files=huge), run.server)


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"patch_voxels": (8, 8, 8)}])
def test_a_card_that_differs_from_the_description_is_refused(
    run: PlainRun, registered: tuple[ModelCard, Path], change: dict[str, Any]
) -> None:
    """How a network computes and on what is said twice; it must be the same."""
    card, _ = registered
    with pytest.raises(DataError, match=f"differ in `{next(iter(change))}`"):
        load(dataclasses.replace(card, **change), run.server)


def test_a_network_that_its_description_does_not_build_is_not_registered() -> None:
    """It is read back before anything is uploaded."""
    network = random_network()
    with pytest.raises(CapillaryError, match="other tensors than its description builds"):
        pack(torch.nn.Sequential(network), description_of(network))


def test_a_registered_model_works_with_mlflow_alone(tmp_path: Path) -> None:
    """Its code travels with it: it is loaded where no checkout is on the path, and holds no path of this machine."""
    network = random_network().eval()
    stack = np.random.default_rng(0).random((3, 17, 20), dtype=np.float32)
    with mlflow_folder(package_of(network)) as folder:
        text = (folder / "MLmodel").read_text()
        found = without_this_repository(tmp_path, lambda: _predicted(folder, stack))
    np.testing.assert_allclose(found, predict_probability(network, stack, (4, 16, 16), 0.5), atol=1e-6)
    assert str(REPOSITORY) not in text
    assert "signature" in text


def _predicted(folder: Path, stack: NDArray[Any]) -> NDArray[Any]:
    model = mlflow.pyfunc.load_model(str(folder))
    loaded = {name: str(sys.modules[name].__file__) for name in sys.modules if name.split(".")[0] == "stages"}
    assert loaded, "the model brought no code along"
    assert all(file.startswith(str(folder)) for file in loaded.values()), loaded
    probability: NDArray[Any] = model.predict(stack.astype("float64"), params={"probability": True})
    return probability
