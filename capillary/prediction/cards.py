"""Which model cards of the workspace a prediction uses: those of a loss, all folds and seeds of it as an ensemble."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from stages.common.cell_name import CellName
from stages.common.errors import DataError, UsageError
from stages.common.text import json_value

MODELS = "models"
_CARD = re.compile(r"(?P<loss>[^/]+)/(?:seed_(?P<seed>\d+)/)?fold_(?P<fold>\d+)\.json")

Cards = Mapping[CellName, str]  # of one loss


def choose_cards(
    root: Path, loss: str | None, folds: Sequence[int], cells: Sequence[CellName] = (), seeds: Sequence[int] = ()
) -> tuple[str, ...]:
    """The cards of `loss`, `folds` and `seeds` (none: all that are there), relative to `root`, by seed and fold.

    Without a `loss` there must be one only. Where params.yaml lists `cells`, a card of another one counts only if its
    loss, fold or seed is named. Raises DataError when there is no card, or none of those that were asked for, and
    CapillaryError (usage) when there are several losses to choose from.
    """
    found = _cards(root)
    if not found:
        raise DataError(
            "there is no model to predict with: models/ has no model card",
            file=root / MODELS,
            remedy="train one (dvc repro), fetch cards with dvc pull models, or name a registered model with --model",
        )
    listed = _listed(found, cells)
    chosen = loss or _only_loss(sorted(listed), sorted(found))
    if chosen not in found:
        raise DataError(
            f"there is no model trained with the loss {chosen}",
            file=root / MODELS,
            remedy=f"choose one of {', '.join(sorted(found))}, or train it (training.losses in params.yaml)",
        )
    cards, own = found[chosen], listed.get(chosen) or found[chosen]
    seed_of = {cell: _seed_of(cell, root / card) for cell, card in cards.items()} if seeds else {}
    _refuse_missing("fold", folds, {cell.fold for cell in cards}, chosen, root)
    _refuse_missing("seed", seeds, set(seed_of.values()), chosen, root)
    by_fold = _asked(folds, lambda cell: cell.fold, own)
    by_seed = _asked(seeds, lambda cell: seed_of[cell], own) if seeds else _asked((), lambda cell: cell.seed, own)
    kept = [cell for cell in cards if by_fold(cell) and by_seed(cell)]
    if not kept:
        raise DataError(
            f"{chosen} has no model with both fold {_joined(folds)} and seed {_joined(seeds)}",
            file=root / MODELS / chosen,
            remedy="choose another fold or seed, or train that model",
        )
    return tuple(cards[cell] for cell in sorted(kept, key=_order))


def _asked(
    wanted: Sequence[int], part: Callable[[CellName], int | None], own: Collection[CellName]
) -> Callable[[CellName], bool]:
    """Whether a cell's fold or seed is one of those `wanted`; where none is named, one that params.yaml lists."""
    accepted: set[int | None] = set(wanted) or {part(cell) for cell in own}
    return lambda cell: part(cell) in accepted


def _order(cell: CellName) -> tuple[int, int]:
    return (-1 if cell.seed is None else cell.seed, cell.fold)


def _joined(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _refuse_missing(what: str, wanted: Sequence[int], there: Collection[int | None], loss: str, root: Path) -> None:
    if missing := sorted(set(wanted) - set(there)):
        raise DataError(
            f"{loss} has no model of {what} {missing[0]}",
            file=root / MODELS / loss,
            remedy=f"choose among the {what}s {_joined(sorted(each for each in there if each is not None))}",
        )


def _seed_of(cell: CellName, card: Path) -> int | None:
    """The seed of a network; that of the first one is on its card alone. None if the card does not say."""
    if cell.seed is not None:
        return cell.seed
    try:
        found = json_value(card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # the stage says what is wrong with the card, if it is used
    seed = found.get("seed") if isinstance(found, dict) else None
    return seed if type(seed) is int else None


def _listed(found: Mapping[str, Cards], cells: Sequence[CellName]) -> dict[str, Cards]:
    """The part of `found` that params.yaml lists; all of it where params.yaml lists nothing."""
    if not cells:
        return dict(found)
    kept = {loss: {cell: card for cell, card in cards.items() if cell in cells} for loss, cards in found.items()}
    return {loss: cards for loss, cards in kept.items() if cards}


def _cards(root: Path) -> dict[str, Cards]:
    """Loss → cell → card."""
    found: dict[str, dict[CellName, str]] = {}
    for file in sorted((root / MODELS).rglob("fold_*.json")):
        if named := _CARD.fullmatch(file.relative_to(root / MODELS).as_posix()):
            cell = CellName(named["loss"], int(named["fold"]), None if named["seed"] is None else int(named["seed"]))
            found.setdefault(cell.loss, {})[cell] = file.relative_to(root).as_posix()
    return dict(found)


def _only_loss(listed: Sequence[str], found: Sequence[str]) -> str:
    if not listed:
        raise DataError(
            "no model in models/ has a loss and fold that params.yaml lists",
            value=", ".join(found),
            remedy=f"train them (dvc repro), or name one from before, such as --loss {found[0]}",
        )
    if len(listed) > 1:
        raise UsageError(
            f"models/ has models of {len(listed)} losses",
            value=", ".join(listed),
            remedy=f"choose one, such as --loss {listed[0]} (capillary metrics compares them)",
        )
    return listed[0]
