"""Which networks a reference means, before anything of them is loaded."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving.models import networks
from stages.common.errors import DataError


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The weights of cards in models/ that no registry has given a number; a test may change them."""
    weights = ["a" * 64, "12" * 32]
    (tmp_path / "models" / "dice_ce").mkdir(parents=True)
    for fold in range(2):
        (tmp_path / "models" / "dice_ce" / f"fold_{fold}.json").touch()

    def find(_cards: Any, _places: Any) -> list[Any]:
        return [
            SimpleNamespace(name="vessels", version="", card=SimpleNamespace(weights_sha256=one)) for one in weights
        ]

    for name, stand_in in (("find_networks", find), ("read_card", lambda file: file), ("places_of", lambda _: None)):
        monkeypatch.setattr(networks, name, stand_in)
    monkeypatch.setattr(networks, "connect", lambda _: None)
    return weights


def test_a_lost_process_starts_again_on_cards_without_a_registry(tmp_path: Path, cards: list[str]) -> None:
    """What the worker says it answers with is what it is started on after a crash (keeper.py)."""
    runtime: Any = None
    pinned = networks.pinned_reference(networks.CARDS, tmp_path, runtime)
    assert pinned == "vessels/aaaaaaaaaaaa,vessels/121212121212"
    assert networks.pinned_reference(pinned, tmp_path, runtime) == pinned
    cards[0] = "b" * 64
    with pytest.raises(DataError, match="other ones now"):
        networks.find_served(pinned, tmp_path, runtime)
