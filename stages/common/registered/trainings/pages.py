"""What people read on the page of a training's version: Markdown, and short tags."""

from collections.abc import Iterator

from stages.common.metrics import METRICS
from stages.common.registered import tags
from stages.common.registered.trainings.training import Rival, Training
from stages.common.statistics.results import Interval
from stages.common.text import counted


def description(training: Training, version: str, run_id: str, against_champion: str) -> str:
    """The description of `version`: numbers, why this loss, how to use it, its networks, where the pictures are."""
    parts = [_head(training), "\n".join(_table(training)), _ranking(training)]
    if against_champion:
        parts.append(f"**Against the champion:** {against_champion}")
    parts += [_use(training, version), "\n".join(_networks(training)), _links(run_id)]
    return "\n\n".join(part for part in parts if part) + "\n"


def model_description(name: str) -> str:
    """The description of the registered model."""
    return (
        f"Trainings of {name.removeprefix('capillary-')}. Each version is one training: the networks of all folds and "
        "seeds of one loss. The alias **champion** is the best so far, **candidate** the one compared with it last, "
        "**previous** the champion before this one. Tags `capillary.promotion.…` on the versions hold the history. "
        f"Predict with `capillary predict --model {name}@champion`."
    )


def short_tags(training: Training, run_id: str, *, held_out: Interval | None = None) -> dict[str, str]:
    """The version's tags, short enough for a table. `held_out` is the ensemble's mean of the metric that decides."""
    known = {tags.HELD_OUT: "" if held_out is None else _numbers(held_out, training.lead.digits)}
    found = {
        tags.KIND: tags.TRAINING_KIND,
        tags.TRAINING: training.id,
        tags.EVALUATION: training.digest,
        tags.EVALUATION_RUN: run_id,
        "capillary.loss": training.loss,
        "capillary.cells": str(len(training.cells)),
        "capillary.metric": training.metrics[0],
        tags.VOLUMES: str(len({volume.id for volume in training.volumes})),
        **{name: text for name, text in known.items() if text},
        **{f"capillary.{name}": text for name in training.metrics if (text := brief(training, name))},
    }
    return {**found, tags.REHEARSAL: "true"} if training.rehearsal else found


def brief(training: Training, metric: str) -> str:
    """A mean with its interval; empty if nothing was measured."""
    return _numbers(training.summary[metric], METRICS[metric].digits)


def _numbers(found: Interval, digits: int) -> str:
    if found.mean is None:
        return ""
    text = f"{found.mean:.{digits}f}"
    if found.ci_low is None or found.ci_high is None:
        return text
    return f"{text} [{found.ci_low:.{digits}f}, {found.ci_high:.{digits}f}]"


def _head(training: Training) -> str:
    folds = len({cell.fold for cell in training.cells})
    seeds = len({cell.seed for cell in training.cells})
    volumes = len({volume.id for volume in training.volumes})
    text = f"**{training.loss}**, {counted(folds, 'fold')}"
    text += f" × {seeds} seeds" if seeds > 1 else ""
    text += f", measured out of fold on {counted(volumes, 'volume')}. Training `{training.id}`."
    return text + (" **A rehearsal: the numbers mean nothing.**" if training.rehearsal else "")


def _table(training: Training) -> Iterator[str]:
    yield f"| metric | mean [{training.settings.confidence:.0%} interval] |"
    yield "|---|---|"
    for name in training.metrics:
        title = METRICS[name].within(training.settings.nsd_tolerance_um).title
        yield f"| {title} {METRICS[name].arrow} | {brief(training, name) or 'not measured'} |"


def _ranking(training: Training) -> str:
    if not training.rivals:
        return ""
    lead = training.lead
    place = "the best loss of its evaluation" if training.stands else "not the best loss of its evaluation"
    lines = [f"This is {place}, by {lead.title}, the first of `evaluation.metrics`:", ""]
    return "\n".join([*lines, *(f"- {_rival(training, rival)}" for rival in training.rivals)])


def _rival(training: Training, rival: Rival) -> str:
    digits = training.lead.digits
    mean = "not measured" if rival.mean is None else f"{rival.mean:.{digits}f}"
    text = f"{rival.loss}: {mean}"
    if rival.difference is None:
        return text
    text += f"; difference {rival.difference:+.{digits + 1}f}"
    if rival.ci_low is None or rival.ci_high is None:
        return text
    return f"{text} [{rival.ci_low:+.{digits + 1}f}, {rival.ci_high:+.{digits + 1}f}]"


def _use(training: Training, version: str) -> str:
    return (
        f"Predict with `capillary predict STACK MASK --model {training.registered_model}/{version}`. It takes a stack "
        "(z, y, x) of any size, and gives a mask of its shape, 1 where the mean probability of its networks is above "
        "the threshold. Their pages say at which spacing they work."
    )


def _networks(training: Training) -> Iterator[str]:
    yield "Networks:"
    yield ""
    for cell in training.cells:
        yield f"- fold {cell.fold}, seed {cell.seed}: {cell.name}/{cell.version}"


def _links(run_id: str) -> str:
    return (
        f"Pictures and tables: artifacts `evaluation/` of the run `{run_id}`. The runs of the networks have "
        "the metrics `evaluation.…` of their fold. Where each run comes from (commit, changes, params, packages): "
        "its artifacts `provenance/`."
    )
