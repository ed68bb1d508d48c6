"""Networks that predict together are those of one training, or they are refused."""

from collections import defaultdict
from collections.abc import Sequence

from stages.common.errors import DataError
from stages.common.tracking.cards.card import ModelCard


def refuse_mixed(cards: Sequence[ModelCard]) -> None:
    """Raise DataError if the networks of `cards` are not of one training.

    Cards of earlier versions do not say what their networks were trained with: of them only loss and epochs are
    compared.
    """
    if len(cards) < 2:
        return
    for name in ("loss", "epochs"):
        _refuse_unlike(name, [str(getattr(card, name)) for card in cards], cards)
    _refuse_unlike("data, code or params", [card.setup or "unknown" for card in cards], cards)
    _refuse_uneven_seeds(cards)


def _refuse_unlike(what: str, values: Sequence[str], cards: Sequence[ModelCard]) -> None:
    if len(set(values)) > 1:
        shown = ("different " + what) if " " in what else f"different `{what}`"
        raise _mixed(
            f"these networks are of different trainings: they were trained with {shown}",
            "; ".join(f"{card.loss} fold {card.fold}: {text[:12]}" for card, text in zip(cards, values, strict=True)),
        )


def _refuse_uneven_seeds(cards: Sequence[ModelCard]) -> None:
    seeds: dict[int, set[str]] = defaultdict(set)
    for card in cards:
        seeds[card.fold].add("?" if card.seed is None else str(card.seed))
    if len({frozenset(each) for each in seeds.values()}) > 1:
        raise _mixed(
            "these networks are of different trainings: their folds were trained with different seeds",
            "; ".join(f"fold {fold}: seed {', '.join(sorted(each))}" for fold, each in sorted(seeds.items())),
        )


def _mixed(what: str, value: str) -> DataError:
    return DataError(
        what,
        remedy="run `dvc repro`, so that every fold is trained the same way; or choose one network (--fold), or a "
        "registered "
        "training (--model NAME@champion)",
        value=value,
    )
