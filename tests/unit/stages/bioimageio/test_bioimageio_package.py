"""A BioImage.IO package: what it says is what the network does, and what it cannot say is refused."""

import dataclasses
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from stages.bioimageio import source
from stages.bioimageio.package import Labels, Probability, describe, example, step_of, write_package
from stages.bioimageio.page import page
from stages.bioimageio.recipe import prepare, preprocessing, refuse_inexpressible
from stages.bioimageio.source import network_of
from stages.common.errors import CapillaryError, DataError, ServiceError
from stages.common.imaging.recipe import Recipe
from stages.common.registered import referred
from stages.common.registered.finding import Places
from stages.common.tracking.cards.card import card_json, write_card
from stages.common.tracking.registry import CARD_TAG
from tests.support.models.networks import card_of, random_network
from tests.support.parts import require
from tests.support.tracking.cards import CARD

LABELS = Labels(authors=("Ada L.",), license="CC-BY-4.0")
PATCH = (4, 8, 8)
STRIDES = ((1, 1, 1), (1, 2, 2), (2, 2, 2))


def recipe_of(normalisation: str, **changes: Any) -> Recipe:
    usual: dict[str, Any] = {"percentile_low": 0.5, "percentile_high": 99.5, "resample_to_um": None}
    return Recipe(normalisation=normalisation, **{**usual, **changes})


def card_with(normalisation: str) -> Any:
    return dataclasses.replace(CARD, patch_voxels=PATCH, recipe=recipe_of(normalisation))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """A package of a network with one layer."""
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 3, padding=1).eval()
    folder = tmp_path_factory.mktemp("bioimageio") / "package"
    write_package(network, STRIDES, card_with("percentile"), LABELS, folder)
    return folder, network


def test_the_test_arrays_are_what_the_network_gives(package: tuple[Path, torch.nn.Module]) -> None:
    """From raw intensities, prepared as rdf.yaml says; every file has the hash that it says."""
    folder, network = package
    rdf = yaml.safe_load((folder / "rdf.yaml").read_text())
    image, expected = np.load(folder / "test_input.npy"), np.load(folder / "test_output.npy")
    assert image.shape == expected.shape == (1, 1, *PATCH)
    prepared = torch.from_numpy(prepare(image, recipe_of("percentile")))
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(expected), Probability(network)(prepared))
    sources = [rdf["inputs"][0]["test_tensor"], rdf["outputs"][0]["test_tensor"], rdf["weights"]["torchscript"]]
    for each in sources:
        assert hashlib.sha256((folder / each["source"]).read_bytes()).hexdigest() == each["sha256"]
    assert (rdf["license"], rdf["authors"]) == ("CC-BY-4.0", [{"name": "Ada L."}])
    steps = [axis["size"]["step"] for axis in rdf["inputs"][0]["axes"] if axis["type"] == "space"]
    assert tuple(steps) == step_of(STRIDES) == (2, 4, 4)


def test_bioimage_io_s_own_program_runs_the_network(package: tuple[Path, torch.nn.Module]) -> None:
    """It finds the form right, and on the test input, in batches and on larger sizes the outputs of the package."""
    tool = shutil.which("bioimageio")
    require(tool is not None, "bioimageio.core (scripts/ci/validators.sh)")
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    argv = [str(tool), "test", str(package[0] / "rdf.yaml")]
    done = subprocess.run(argv, env=alone, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    ("normalisation", "steps"),
    [
        ("percentile", ["ensure_dtype", "scale_range", "clip", "ensure_dtype"]),
        ("zscore", ["ensure_dtype", "zero_mean_unit_variance", "ensure_dtype"]),
        ("none", ["ensure_dtype"]),
    ],
)
def test_each_normalisation_has_steps_and_the_same_arithmetic(normalisation: str, steps: list[str]) -> None:
    """Compared with the definitions of BioImage.IO's steps, written out."""
    recipe = recipe_of(normalisation)
    assert [step["id"] for step in preprocessing(recipe)] == steps
    image = example((3, 16, 16))
    found = prepare(image, recipe)
    assert found.dtype == np.float32
    wide = image.astype(np.float64)
    low, high = np.quantile(wide, [0.005, 0.995])
    expected = {
        "percentile": np.clip((wide - low) / (high - low + 1e-6), 0, 1),
        "zscore": (wide - wide.mean()) / (wide.std() + 1e-6),
        "none": wide,
    }[normalisation]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resample_to_um": (1.0, 1.0, 1.0)}, "resampled"),
        ({"percentile_low": 0.1, "percentile_high": 0.9}, "above 1"),
        ({"percentile_low": 0.1, "percentile_high": 1.0}, "above 1"),
    ],
)
def test_a_recipe_without_words_for_it_is_refused(changes: dict[str, Any], words: str) -> None:
    """Before anything is written; the error says what to do instead."""
    with pytest.raises(DataError, match=words) as raised:
        refuse_inexpressible(recipe_of("percentile", **changes))
    assert "preprocess" in raised.value.remedy


def test_another_result_than_the_network_s_is_never_exported(tmp_path: Path) -> None:
    """What a trace freezes, such as a choice by size, shows on a larger patch."""

    class Fickle(torch.nn.Module):
        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            sign = 1.0 if patches.shape[2] == PATCH[0] else -1.0
            return torch.cat([patches, sign * patches], dim=1)

    with pytest.raises(CapillaryError, match="another result"):
        write_package(Fickle(), STRIDES, card_with("none"), LABELS, tmp_path / "package")
    assert not (tmp_path / "package/rdf.yaml").exists()


def test_the_page_says_how_stacks_are_prepared() -> None:
    """In words, with the arithmetic of the training where it is another."""
    card = dataclasses.replace(card_with("percentile"), precision="bf16")
    text = page(card)
    assert "percentiles 0.5 and 99.5" in text
    assert "evaluated in bf16" in text
    assert "Validation" in text
    assert "bf16" not in page(card_with("zscore"))
    assert "license" not in describe(card, Labels(authors=("A",), license=""), dict.fromkeys(_FILES, "0"), (1, 1, 1))


_FILES = ("weights.pt", "README.md", "test_input.npy", "test_output.npy")


def test_a_reference_means_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several folds are several packages; a version without a card is none of ours."""
    network = random_network()
    card = card_of(network)
    file = tmp_path / "dice_ce/fold_0.json"
    write_card(file, card)
    server: Any = SimpleNamespace(uri="http://registry")
    places = Places(server=server)

    def version(number: int, tags: dict[str, str]) -> Any:
        return SimpleNamespace(name="capillary-dice_ce", version=number, tags=tags)

    def registered(*versions: Any) -> None:
        monkeypatch.setattr(referred, "find_versions", lambda *_: list(versions))

    tagged = {CARD_TAG: card_json(card)}
    registered(version(1, tagged))
    found = network_of("capillary-dice_ce/1", None, places)
    assert (found.card, found.name, found.version) == (card, "capillary-dice_ce", "1")
    registered(version(1, tagged), version(2, tagged))
    with pytest.raises(CapillaryError, match="2 networks"):
        network_of("capillary-dice_ce", None, places)
    registered(version(1, {}))
    with pytest.raises(DataError, match="does not say how its images were prepared"):
        network_of("capillary-dice_ce/1", None, places)
    with pytest.raises(ServiceError, match="offline contacts no server"):
        network_of("capillary-dice_ce/1", None, Places(server=None))
    monkeypatch.setattr(source, "find_network", lambda asked, _places: asked)
    assert network_of(None, file, places) == card
