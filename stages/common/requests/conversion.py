"""What the steps of `capillary models convert` hand to each other: a folder per version, under the names below.

fetched/<n>/    version.json, model.pth          stages/models, which reaches the registry and unpickles nothing
converted/<n>/  version.json, description.json, weights.safetensors   stages/convert, which has no network
cards/<n>.json  old number and new card          stages/models again
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from stages.common.errors import DamagedError
from stages.common.params import Params, Sha256

FETCHED, CONVERTED, CARDS = "fetched", "converted", "cards"
PICKLE, VERSION = "model.pth", "version.json"


class OldVersion(Params):
    """A version whose model is a pickle. `card` is its card, as its tag has it; `has_alias` is its fold's alias."""

    name: str
    version: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
    run_id: str
    weights_sha256: Sha256
    has_alias: bool
    card: dict[str, Any]

    @property
    def label(self) -> str:
        """How people name it."""
        return f"{self.name}/{self.version}"


def write_version(folder: Path, version: OldVersion) -> None:
    """Write `version` into `folder`, which is made."""
    folder.mkdir(parents=True)
    (folder / VERSION).write_text(version.model_dump_json(indent=2))


def read_versions(folder: Path) -> Iterator[tuple[Path, OldVersion]]:
    """Each version in `folder` with its own folder. Raises DamagedError for one that is not described."""
    for inner in sorted(folder.iterdir()):
        file = inner / VERSION
        try:
            yield inner, OldVersion.model_validate_json(file.read_bytes())
        except (ValidationError, FileNotFoundError) as error:
            raise DamagedError(
                "the description of a version to convert is wrong or incomplete",
                remedy="repeat the command",
                file=file,
                value=str(error)[:300],
            ) from error
