"""The card that train leaves of a network in models/: written, and read with every field checked.

No torch is imported here, because a report reads cards and computes nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from stages.common.atomic import atomic_write
from stages.common.cell_name import ENTRY, SEED_ENTRY
from stages.common.errors import DamagedError, DataError
from stages.common.imaging.recipe import Recipe, recipe_from, with_reading
from stages.common.networks.description import FILES
from stages.common.params import Sha256
from stages.common.text import find_hidden, json_value
from stages.common.tracking.cards.domain import Domain
from stages.common.tracking.names import of_loss

# of earlier versions' cards: what a server had assigned
ASSIGNED = ("run_id", "model_name", "model_version")
_STRICT = ConfigDict(extra="forbid")


def _is_shown(text: str) -> str:
    if not text or find_hidden(text) is not None:
        raise ValueError("it is empty, or holds a character that hides")
    return text


def _has_files(files: Mapping[str, Any]) -> Mapping[str, Any]:
    if files.keys() != set(FILES):
        raise ValueError(f"the files are not {', '.join(FILES)}")
    return files


_Text = Annotated[str, AfterValidator(_is_shown)]
_Loss = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")]  # part of the registered model's name
_Count = Annotated[int, Strict(), Field(ge=0)]
_Size = Annotated[int, Strict(), Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """What a card says of a file."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    sha256: Sha256
    bytes: _Count


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What train leaves in models/<loss>/fold_<k>.json: which network it is, and how to know the right one.

    Nothing on it is a server's to give: equal trainings leave equal cards, published or not. Where the network is
    kept, stages/common/registered/finding.py finds out.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    loss: _Loss
    fold: _Count
    weights_sha256: Sha256
    patch_voxels: tuple[_Size, _Size, _Size]
    epochs: _Count
    validation_dsc: Annotated[int, Strict()] | Annotated[float, Strict()]
    fingerprint: _Text
    precision: _Text
    recipe: Recipe
    files: Annotated[Mapping[str, ModelFile], AfterValidator(_has_files)]
    domain: Domain | None = None  # None on cards of earlier versions
    seed: _Count | None = None  # None on cards of earlier versions
    # hash of loss, data, code and params without the seed, which all cells of a training have in common
    setup: Sha256 | None = None  # None on cards of earlier versions, and of stages that were started by hand

    @property
    def model_name(self) -> str:
        """The registered model of which the network is, or will be, a version."""
        return of_loss(self.loss)


_FORM = TypeAdapter(ModelCard)


def address_words(card: ModelCard) -> str:
    """The command that trains the card's network again; a card does not say whether its seed is another one."""
    first = f"`dvc repro -f -s {ENTRY}@{card.loss}-{card.fold}`"
    if card.seed is None:
        return first
    return f"{first} (if seed {card.seed} is one of training.seeds: {SEED_ENTRY}@{card.loss}-{card.fold}-{card.seed})"


def write_card(path: Path, card: ModelCard) -> None:
    """Write `card` as JSON; equal cards give equal bytes."""
    with atomic_write(path) as stream:
        stream.write(card_json(card, indent=2).encode() + b"\n")


def card_json(card: ModelCard, indent: int | None = None) -> str:
    """`card` as JSON."""
    return json.dumps(asdict(card), indent=indent)


def read_card(path: Path) -> ModelCard:
    """The card in `path`. Raises DataError when it is missing, damaged or of another version of this program."""
    try:
        data = json_value(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            "this cell has no model card: it was not trained", remedy=f"run `dvc repro {_cell(path)}`", file=path
        ) from error
    except ValueError as error:
        raise DamagedError(f"the model card is not JSON: {error}", remedy=_retrain(path), file=path) from error
    return card_from(data, path, _retrain(path))


def without_assigned(data: object) -> object:
    """A card's `data` without what earlier versions of capillary noted on it: the run, name and version."""
    return {key: value for key, value in data.items() if key not in ASSIGNED} if isinstance(data, dict) else data


def card_from(data: object, origin: object, remedy: str) -> ModelCard:
    """`data`, as JSON has it, as a card. Raises DataError naming `origin` when it is of another version or damaged."""
    names = {field.name for field in fields(ModelCard)}
    if isinstance(data, dict) and "files" in data and set(ASSIGNED) & data.keys():
        raise DataError(
            "the model card was written by an older capillary, which recorded where a server had put the network",
            remedy=f"run `dvc repro`, or {remedy}",
            file=origin,
            value=", ".join(name for name in ASSIGNED if name in data),
        )
    if (
        isinstance(data, dict)
        and names - data.keys() - {"domain", "seed", "setup"} == {"files"}
        and "model_name" in data
    ):
        raise _pickled(data, origin, remedy)
    if not isinstance(data, dict):
        raise DamagedError(
            "the model card is not a JSON object", remedy=remedy, file=origin, value=f"a {type(data).__name__}"
        )
    data = {"domain": None, "seed": None, "setup": None, **data}
    if differing := [*(f"it lacks {name}" for name in sorted(names - data.keys()))] + [
        f"it has {name}" for name in sorted(data.keys() - names)
    ]:
        raise DataError(
            "the model card was written by another version of capillary",
            remedy=remedy,
            file=origin,
            value=", ".join(differing),
        )
    data = {**data, "recipe": with_reading(data["recipe"])}
    try:
        return _FORM.validate_python(data)
    except ValidationError as error:
        wrong = str(error.errors(include_url=False)[0]["loc"][0])
        if wrong == "recipe":
            recipe_from(data["recipe"], origin)  # says so in its own words
        raise DamagedError(
            f"the model card is damaged: `{wrong}` is not valid",
            remedy=remedy,
            file=origin,
            value=repr(data[wrong])[:200],
        ) from error


def _pickled(data: Mapping[str, Any], origin: object, remedy: str) -> DataError:
    named = f"{data['model_name']}/{data['model_version']}" if data.get("model_version") else "NAME/VERSION"
    return DataError(
        "the model was registered by an older capillary as a pickle, which is no longer read",
        remedy=f"convert it (`capillary models convert {named}`), or {remedy}",
        file=origin,
        value="the model card lacks `files`",
    )


def _cell(card_path: Path) -> str:
    """The address of the cell whose card is in `card_path`."""
    folder, fold = card_path.parent, card_path.stem.removeprefix("fold_")
    if folder.name.startswith("seed_"):
        return f"{SEED_ENTRY}@{folder.parent.name}-{fold}-{folder.name.removeprefix('seed_')}"
    return f"{ENTRY}@{folder.name}-{fold}"


def _retrain(card_path: Path) -> str:
    return f"run `dvc checkout --force {card_path}` or, if it never was right, `dvc repro -f -s {_cell(card_path)}`"
