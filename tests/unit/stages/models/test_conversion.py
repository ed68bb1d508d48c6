"""Pickled versions in a real embedded registry become new versions next to the old ones."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from stages.common.errors import DataError
from stages.common.networks.weights import weights_sha256
from stages.common.registered.loading import load_model
from stages.common.registered.referred import find_by_reference
from stages.common.tracking.cards.card import ModelCard, card_from
from stages.common.tracking.registry import CARD_TAG, CONVERTED_TAG
from stages.common.tracking.server import Server, connect
from stages.convert.convert import convert_all
from stages.models.fetch import fetch
from stages.models.register import register_all
from tests.support.models.networks import random_network
from tests.support.models.pickled import register_pickled
from tests.support.tracking.empty_store import start_store
from tests.support.tracking.tracked import embedded_runtime, load

LOSS, NAME = "dice_ce", "capillary-dice_ce"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pickled trainings of fold 0, of which the second has the alias, and one of fold 1."""
    store = start_store(tmp_path_factory.mktemp("old") / "mlruns")
    for seed, fold in ((0, 0), (1, 0), (2, 1)):
        register_pickled(store, random_network(seed), LOSS, fold=fold, patch_voxels=(4, 16, 16))
    return store


@pytest.fixture(scope="module")
def server(store: Path) -> Server:
    return connect(embedded_runtime(store))


def convert(references: Sequence[str], folder: Path, server: Server) -> list[tuple[str, str, ModelCard]]:
    """All three steps in this process; (old number, new one, card)."""
    fetch(references, folder / "fetched", server)
    convert_all(folder / "fetched", folder / "converted")
    register_all(folder / "converted", folder / "cards", server)
    made = [json.loads(file.read_text()) for file in sorted((folder / "cards").iterdir())]
    return [(each["converted_from"], each["version"], card_from(each["card"], "here", "")) for each in made]


def alias(server: Server, name: str) -> str:
    return str(server.client.get_model_version_by_alias(NAME, name).version)


def test_versions_are_converted_once_and_keep_their_aliases(server: Server, store: Path, tmp_path: Path) -> None:
    """The alias follows where the old version had it; a second time nothing is left to do."""
    with pytest.raises(DataError, match="older capillary as a pickle") as caught:
        find_by_reference(f"{NAME}/1", server)
    assert f"capillary models convert {NAME}/1" in caught.value.remedy
    ((old, new, card),) = convert([f"{NAME}/1"], tmp_path / "one", server)
    assert (old, alias(server, "fold-0")) == ("1", "2"), "the alias stays with the newer training"
    assert weights_sha256(load(card, server)) == weights_sha256(random_network(0))
    version = server.client.get_model_version(NAME, new)
    assert version.tags[CONVERTED_TAG] == "1"
    assert json.loads(version.tags[CARD_TAG])["files"].keys() == card.files.keys()
    others = convert([], tmp_path / "all", server)
    assert [old for old, _, _ in others] == ["2", "3"]
    assert alias(server, "fold-0") == others[0][1]
    (found,) = find_by_reference(f"{NAME}@fold-1", server)
    assert torch.equal(*(weights[FIRST] for weights in (load_model(found).state_dict(), expected(2))))
    fetch([], tmp_path / "none", server)
    assert list((tmp_path / "none").iterdir()) == []


FIRST = "convInit.conv.weight"


def expected(seed: int) -> dict[str, torch.Tensor]:
    return dict(random_network(seed).state_dict())


def test_a_version_without_a_card_is_named_or_passed_over(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else's model of that name: an error when it was asked for, a line when everything was."""
    name = "capillary-foreign"
    server.client.create_registered_model(name)
    server.client.create_model_version(name, source=str(tmp_path))
    with pytest.raises(DataError, match="lacks the tag"):
        fetch([f"{name}/1"], tmp_path / "named", server)
    fetch([], tmp_path / "all", server)
    assert f"{name}/1 cannot be converted" in capsys.readouterr().out


def test_what_the_unpickling_step_hands_on_is_checked_anew(server: Server, tmp_path: Path) -> None:
    """Other weights than were registered do not get into the registry."""
    version = {"name": NAME, "version": "1", "run_id": "r", "weights_sha256": "0" * 64, "has_alias": False, "card": {}}
    fetch([], tmp_path / "fetched", server)
    start_store(tmp_path / "other")
    register_pickled(tmp_path / "other", random_network(7), "other", patch_voxels=(4, 16, 16))
    other = connect(embedded_runtime(tmp_path / "other"))
    fetch(["capillary-other/1"], tmp_path / "more", other)
    convert_all(tmp_path / "more", tmp_path / "converted")
    (tmp_path / "converted" / "0" / "version.json").write_text(json.dumps(version))
    with pytest.raises(DataError, match="other weights than were registered"):
        register_all(tmp_path / "converted", tmp_path / "cards", server)
