"""Networks that predict together are those of one training, or they are refused."""

from collections import defaultdict
from collections.abc import Sequence

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import DataError
from stages.common.registered import tags
from stages.common.registered.versions import network_version
from stages.common.tracking.registry import ModelCard
from stages.common.tracking.server import Server


def refuse_mixed(cards: Sequence[ModelCard], server: Server) -> None:
    """Raise DataError where the networks of `cards` are not of one training.

    Versions of former programs do not say what they were trained with: of them only loss and epochs are compared.
    """
    if len(cards) < 2:
        return
    for name in ("loss", "epochs"):
        _refuse_unlike(name, [str(getattr(card, name)) for card in cards], cards)
    versions = [network_version(card.loss, card.weights_sha256, server) for card in cards]
    _refuse_unlike("data, code or params", [one.tags.get(tags.SETUP, "unknown") for one in versions], cards)
    _refuse_uneven_seeds(versions)


def _refuse_unlike(what: str, values: Sequence[str], cards: Sequence[ModelCard]) -> None:
    if len(set(values)) > 1:
        shown = ("different " + what) if " " in what else f"different `{what}`"
        raise _mixed(
            f"these networks are of different trainings: they were trained with {shown}",
            "; ".join(f"{card.loss} fold {card.fold}: {text[:12]}" for card, text in zip(cards, values, strict=True)),
        )


def _refuse_uneven_seeds(versions: Sequence[ModelVersion]) -> None:
    seeds: dict[str, set[str]] = defaultdict(set)
    for one in versions:
        seeds[one.tags.get(tags.FOLD, "?")].add(one.tags.get(tags.SEED, "?"))
    if len({frozenset(each) for each in seeds.values()}) > 1:
        raise _mixed(
            "these networks are of different trainings: their folds were trained with different seeds",
            "; ".join(f"fold {fold}: seed {', '.join(sorted(each))}" for fold, each in sorted(seeds.items())),
        )


def _mixed(what: str, value: str) -> DataError:
    return DataError(
        what,
        remedy="run `dvc repro`, so that every fold is trained alike; or choose one network (--fold), or a registered "
        "training (--model NAME@champion)",
        value=value,
    )
