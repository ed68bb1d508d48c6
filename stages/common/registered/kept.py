"""The second home of a network: files that DVC keeps in the project's weights/, under the hash of the weights.

They are untrusted like a registry's: nothing is parsed before its size and SHA-256 are those of the card.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from stages.common.errors import DamagedError
from stages.common.networks.description import DESCRIPTION, WEIGHTS
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.model_files import file_of

KEPT = Path("weights")
FILES = (DESCRIPTION, WEIGHTS)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def weights_from_remote(card: ModelCard, places: Sequence[Path] = (KEPT,)) -> Path | None:
    """The folder with the files of the card's network, as `dvc pull` brought it; None if there is none.

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
        content = read_kept_file(folder, name, card.files[name].bytes)
        if (found := file_of(content)) != card.files[name]:
            raise DamagedError(
                f"a network that DVC keeps does not match its card (loss {card.loss}, fold {card.fold})",
                remedy="fetch it again: dvc checkout --force weights, or dvc pull --force weights",
                file=folder / name,
                value=f"SHA-256 {found.sha256} instead of {card.files[name].sha256}",
            )
        contents[name] = content
    return contents


def read_kept_file(folder: Path, name: str, most_bytes: int) -> bytes:
    """The file `name` of `folder`, not yet compared with the card; a byte more than `most_bytes` if it has more."""
    with (folder / name).open("rb") as stream:
        return stream.read(most_bytes + 1)


def _is_whole(folder: Path, card: ModelCard) -> bool:
    """A link into DVC's cache is followed: what it leads to must have the card's hash anyway."""
    return all((folder / name).is_file() and (folder / name).stat().st_size == card.files[name].bytes for name in FILES)
