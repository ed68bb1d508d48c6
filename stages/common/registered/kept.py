"""The second home of a network: files that DVC keeps in the project's weights/, under the hash of the weights.

They are untrusted like a registry's: nothing is parsed before its size and SHA-256 are those of the card.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stages.common.errors import DamagedError
from stages.common.networks.description import DESCRIPTION
from stages.common.networks.weights import WEIGHTS
from stages.common.tracking.model_files import file_of
from stages.common.tracking.registry import ModelCard
from stages.common.tracking.server import PATIENCE_S, Server

KEPT = Path("weights")
FILES = (DESCRIPTION, WEIGHTS)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HURRIED_S = 5.0
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class HurriedServer(Server):
    """A server that need not answer: there is another road to the same bytes."""

    def call(self, what: str, ask: Callable[[], Answer], patience_s: float = PATIENCE_S) -> Answer:
        """As a server does, but asks again for seconds only."""
        return super().call(what, ask, min(patience_s, _HURRIED_S))


def weights_from_remote(card: ModelCard, places: Sequence[Path] = (KEPT,)) -> Path | None:
    """The folder with the files of the card's network, as `dvc pull` brought it; None where there is none.

    Only their names and sizes are looked at; read_kept compares what is in them.
    """
    if not _SHA256.fullmatch(card.weights_sha256) or not set(FILES) <= card.files.keys():
        return None
    folders = (place / card.weights_sha256 for place in places)
    return next((folder for folder in folders if _is_whole(folder, card)), None)


def read_kept(folder: Path, card: ModelCard) -> dict[str, bytes]:
    """Name → content of the files in `folder`. Raises DamagedError for one that is not the card's."""
    contents = {}
    for name in FILES:
        with (folder / name).open("rb") as stream:
            content = stream.read(card.files[name].bytes + 1)
        if (found := file_of(content)) != card.files[name]:
            raise DamagedError(
                f"a network that DVC keeps is not the one of its card (loss {card.loss}, fold {card.fold})",
                remedy="fetch it anew: dvc checkout --force weights, or dvc pull --force weights",
                file=folder / name,
                value=f"SHA-256 {found.sha256} instead of {card.files[name].sha256}",
            )
        contents[name] = content
    return contents


def _is_whole(folder: Path, card: ModelCard) -> bool:
    """A link into DVC's cache is followed: what it leads to must have the card's hash anyway."""
    return all((folder / name).is_file() and (folder / name).stat().st_size == card.files[name].bytes for name in FILES)
