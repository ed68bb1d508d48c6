"""The evaluation of what was trained again, by evaluate's own record: it may be newer than the trainings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from capillary.reproduce.differences import Difference, Trained, evaluation_differences
from capillary.reproduce.project import move
from capillary.reproduce.recipe import Recipe, Recorded
from capillary.reproduce.recorded_yaml import read_mapping
from capillary.reproduce.training import CommandRunner, read_last
from capillary.yaml_file import read_yaml
from stages.common.provenance.record import PARAMS

EVALUATE = "evaluate"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Means of metrics, and what differs from the first evaluation; None if nothing was recorded of that one."""

    metrics: Mapping[str, float]
    reasons: tuple[Difference, ...] | None = None


def why_not(recipes: tuple[Recipe, ...], evaluation: Recorded | None) -> str:
    """Why the metrics cannot be compared; empty if they can."""
    if len(recipes) > 1:
        return "the cells were trained in different states of the project"
    if evaluation is not None and evaluation.host.prefix != recipes[0].first.host.prefix:
        return "the project was in another folder of its repository when it was evaluated"
    return ""


def measure(recipe: Recipe, evaluation: Recorded | None, work: CommandRunner) -> Measured:
    """Evaluate the cells of `recipe`, which `work` has trained, in the state of the project that `evaluation` says.

    Without a record of it that is the state in which they were trained.
    """
    loss = recipe.first.cell.loss
    if evaluation is None:
        return Measured(metrics=work.evaluate(loss))
    move(work.project, recipe.first, evaluation)
    changed = tuple(_changed(recipe, evaluation, work))
    params = read_yaml(work.project.root / PARAMS)  # before the other losses are left out
    metrics = work.evaluate(loss)
    then = Trained(record=evaluation.record, params=read_mapping(evaluation.params, PARAMS))
    now = read_last(work.project, EVALUATE)
    differ = () if now is None else evaluation_differences(then, Trained(record=now, params=params))
    return Measured(metrics=metrics, reasons=(*changed, *differ))


def _changed(recipe: Recipe, evaluation: Recorded, work: CommandRunner) -> Iterator[Difference]:
    """What the trainings depend on and was another one when they were evaluated, so that DVC would train again."""
    first = recipe.first
    if (first.commit, first.diff, first.params) == (evaluation.commit, evaluation.diff, evaluation.params):
        return
    if changed := work.changed_for([original.record.stage for original in recipe.originals]):
        yield Difference(name="what the networks depend on", then="as they were trained", now=f"changed: {changed}")
