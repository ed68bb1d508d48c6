"""Which model cards of the workspace a prediction uses: those of a loss, all folds of it as an ensemble."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.common.errors import CapillaryError, DataError, ExitCode

MODELS = "models"


def choose_cards(
    root: Path, loss: str | None, folds: Sequence[int], cells: Sequence[tuple[str, int]] = ()
) -> tuple[str, ...]:
    """The cards of `loss` and `folds` (none: all that are there), relative to `root`, in the order of the folds.

    Without a `loss` there must be one only. Where params.yaml lists `cells`, a card of another one counts only if its
    loss or fold is named. Raises DataError when there is no card, or none of those that were asked for, and
    CapillaryError (usage) when there are several losses to choose from.
    """
    found = _cards(root)
    if not found:
        raise DataError(
            "there is no model to predict with: models/ holds no card",
            file=root / MODELS,
            remedy="train one (dvc repro), fetch those of others (dvc pull models), or name one of the registry "
            "with --model",
        )
    listed = _listed(found, cells)
    chosen = loss or _only_loss(sorted(listed), sorted(found))
    cards = found.get(chosen)
    if cards is None:
        raise DataError(
            f"there is no model of the loss {chosen}",
            file=root / MODELS,
            remedy=f"choose one of {', '.join(sorted(found))}, or train it (training.losses in params.yaml)",
        )
    if missing := sorted(set(folds) - set(cards)):
        raise DataError(
            f"{chosen} has no model of fold {missing[0]}",
            file=root / MODELS / chosen,
            remedy=f"choose among the folds {', '.join(map(str, sorted(cards)))}",
        )
    return tuple(cards[fold] for fold in sorted(set(folds) or listed.get(chosen) or cards))


def _listed(found: Mapping[str, dict[int, str]], cells: Sequence[tuple[str, int]]) -> dict[str, dict[int, str]]:
    """The part of `found` that params.yaml lists; all of it where params.yaml lists nothing."""
    if not cells:
        return dict(found)
    kept = {
        loss: {fold: card for fold, card in cards.items() if (loss, fold) in cells} for loss, cards in found.items()
    }
    return {loss: cards for loss, cards in kept.items() if cards}


def _cards(root: Path) -> dict[str, dict[int, str]]:
    """Loss → fold → card."""
    found: dict[str, dict[int, str]] = {}
    for file in (root / MODELS).glob("*/fold_*.json"):
        if fold := re.fullmatch(r"fold_(\d+)\.json", file.name):
            found.setdefault(file.parent.name, {})[int(fold[1])] = file.relative_to(root).as_posix()
    return found


def _only_loss(listed: Sequence[str], found: Sequence[str]) -> str:
    if not listed:
        raise DataError(
            "no model in models/ is of a loss and fold that params.yaml lists",
            value=", ".join(found),
            remedy=f"train them (dvc repro), or name a former one, such as --loss {found[0]}",
        )
    if len(listed) > 1:
        raise CapillaryError(
            f"there are models of {len(listed)} losses",
            value=", ".join(listed),
            remedy=f"choose one, such as --loss {listed[0]} (capillary metrics compares them)",
            code=ExitCode.USAGE,
        )
    return listed[0]
