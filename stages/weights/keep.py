"""Each card's network as files in a folder that is called like the weights' hash."""

from pathlib import Path

from stages.common.errors import DataError
from stages.common.program.messages import get_logger
from stages.common.registered.finding import Places, find_network
from stages.common.registered.kept import read_kept, weights_from_remote
from stages.common.registered.loading import files_of
from stages.common.text import counted
from stages.common.tracking.cards.card import ModelCard, read_card

log = get_logger(__name__)

MADE, FORMER = "kept", "former"


def keep_all(models: Path, made: Path, places: Places, *, former: Path) -> None:
    """Leave the networks of all cards below `models` in `made`. Those in `former` are not fetched again.

    Raises DataError if there is no card, and what reading a network raises.
    """
    cards = [read_card(file) for file in sorted(models.rglob("fold_*.json"))]
    if not cards:
        raise DataError(
            "there are no model cards: nothing has been trained", remedy="dvc repro, or dvc pull", file=models
        )
    for card in cards:
        folder = made / card.weights_sha256
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _contents(card, places, former).items():
            (folder / name).write_bytes(content)
    log.info(f"kept {counted(len(cards), 'network')}")


def _contents(card: ModelCard, places: Places, former: Path) -> dict[str, bytes]:
    folder = weights_from_remote(card, (former,))
    return files_of(find_network(card, places)) if folder is None else read_kept(folder, card)
