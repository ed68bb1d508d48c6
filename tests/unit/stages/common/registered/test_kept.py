"""Networks that DVC keeps: the road that remains when the registry is gone."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.store.entities import PagedList

from stages.common.errors import DamagedError, ServiceError
from stages.common.networks.description import DESCRIPTION, WEIGHTS
from stages.common.networks.weights import weights_sha256
from stages.common.registered.finding import Places, find_network
from stages.common.registered.kept import read_kept, weights_from_remote
from stages.common.registered.loading import load_model
from stages.common.tracking.cards.card import ModelCard, write_card
from stages.common.tracking.model_files import file_of
from stages.common.tracking.server import Server
from stages.weights import keep
from stages.weights.keep import keep_all
from tests.support.models.networks import card_of, package_of, random_network
from tests.support.tracking.cards import CARD


def write_in(place: Path, card: ModelCard, contents: Mapping[str, bytes]) -> Path:
    """The folder with the files of `card` below `place`."""
    folder = place / card.weights_sha256
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def made_up(number: int) -> tuple[ModelCard, dict[str, bytes]]:
    """A card and files that have its hashes, for who does not parse them."""
    contents = {DESCRIPTION: b"{}", WEIGHTS: bytes([number]) * 9}
    files = {name: file_of(content) for name, content in contents.items()}
    card = dataclasses.replace(CARD, files=files, weights_sha256=f"{number:064x}")
    return card, contents


class Gone(Server):
    """A server that answers nothing, and nobody who waits for it."""

    def call(self, what: str, ask: Callable[[], Any], patience_s: float | None = None) -> Any:
        del ask, patience_s
        raise ServiceError(f"MLflow at {self.uri} does not {what}", remedy="check MLFLOW_TRACKING_URI")


@pytest.fixture
def gone() -> Places:
    """Where to look in a clone whose server is gone."""
    return Places(server=Gone(client=None, uri="http://gone.example"))  # type: ignore[arg-type]


def test_a_network_is_loaded_without_its_server(tmp_path: Path, gone: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the project's weights/."""
    monkeypatch.chdir(tmp_path)
    model = random_network()
    card = card_of(model)
    folder = write_in(Path("weights"), card, package_of(model).contents)
    found = find_network(card, gone)
    assert str(folder) in found.place
    assert weights_sha256(load_model(found)) == weights_sha256(model)


def test_what_the_registry_gives_wrongly_is_read_from_what_is_kept(
    tmp_path: Path, gone: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bytes by another road, and it says why."""
    monkeypatch.chdir(tmp_path)
    model = random_network()
    card = card_of(model)
    folder = write_in(Path("weights"), card, package_of(model).contents)
    spoilt = dataclasses.replace(find_network(card, gone), place="the registry", fetch=lambda *_: b"{}")
    assert weights_sha256(load_model(spoilt)) == weights_sha256(model)
    said = " ".join(capsys.readouterr().out.split())
    assert f"is read from {folder}" in said
    assert "as the registry has it" in said


def test_without_kept_files_the_error_names_the_server_and_the_other_road(
    tmp_path: Path, gone: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry only is the default."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ServiceError, match=r"gone\.example") as raised:
        find_network(made_up(1)[0], gone)
    assert "MLFLOW_TRACKING_URI" in raised.value.remedy
    empty = SimpleNamespace(search_model_versions=lambda *_, **__: PagedList([], None))
    with pytest.raises(ServiceError, match="no version of capillary-dice_ce") as raised:
        find_network(made_up(1)[0], Places(server=Server(client=empty, uri="http://other.example")))  # type: ignore[arg-type]
    assert "tracking.weights_in_remote" in raised.value.remedy


def test_a_place_that_is_no_folder_has_no_networks() -> None:
    """Compose mounts /dev/null there, unless the folder is named."""
    card, _ = made_up(1)
    assert weights_from_remote(card, (Path("/dev/null"),)) is None


@pytest.mark.parametrize("change", ["size", "bytes", "absent", "folder", "name"])
def test_files_that_are_not_the_card_s_are_never_parsed(change: str, tmp_path: Path) -> None:
    """Another size is as good as none; other bytes of that size are damage, and named."""
    card, contents = made_up(1)
    folder = write_in(tmp_path, card, contents)
    file = folder / WEIGHTS
    content = file.read_bytes()
    if change == "size":
        file.write_bytes(content + b"x")
    elif change == "absent":
        file.unlink()
    elif change == "folder":
        file.unlink()
        file.mkdir()
    elif change == "name":
        card = dataclasses.replace(card, weights_sha256=f"../{folder.parent.name}/{card.weights_sha256}")
    else:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = weights_from_remote(card, (tmp_path,))
    assert (found is None) == (change != "bytes")
    if found is not None:
        with pytest.raises(DamagedError, match="does not match its card"):
            read_kept(found, card)


def test_what_is_kept_already_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new card's network is, and one that no card names any more is left out."""
    models, (old, _), (new, files) = tmp_path / "models", made_up(1), made_up(3)
    for card, contents in (made_up(1), made_up(2)):
        write_in(tmp_path / "former", card, contents)
    write_card(models / "dice_ce/fold_0.json", old)
    write_card(models / "dice_ce/seed_7/fold_0.json", new)
    fetched: list[str] = []

    def fetch(card: ModelCard) -> dict[str, bytes]:
        fetched.append(card.weights_sha256)
        return files

    monkeypatch.setattr(keep, "find_network", lambda card, _places: card)
    monkeypatch.setattr(keep, "files_of", fetch)
    keep_all(models, tmp_path / "made", None, former=tmp_path / "former")  # type: ignore[arg-type]
    assert fetched == [new.weights_sha256]
    assert {folder.name for folder in (tmp_path / "made").iterdir()} == {old.weights_sha256, new.weights_sha256}
    assert "kept 2 networks" in capsys.readouterr().out
