"""`capillary reproduce MODEL`: from a registry's entry to a verdict."""

import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from capillary.dvc.repository import cache_dir_of
from capillary.executors.choose import choose_executor
from capillary.lifetimes.stop import Stop
from capillary.models.steps import Step, run_step
from capillary.reproduce.commit import ensure_commit, is_repository, touched_files
from capillary.reproduce.differences import Trained, differences
from capillary.reproduce.evaluating import Measured, measure, why_not
from capillary.reproduce.patch import sets_remotes
from capillary.reproduce.project import Project, environment_of, laid_out
from capillary.reproduce.recipe import Original, Recipe, Recorded, consent, read_evaluation, read_recipes
from capillary.reproduce.recorded_yaml import read_mapping
from capillary.reproduce.training import CommandRunner, read_trained
from capillary.reproduce.verdict import CellVerdict, Verdict, lines_of
from capillary.settings import Settings, read_settings
from stages.common.errors import UsageError
from stages.common.program.console import print_answer
from stages.common.provenance.record import PARAMS
from stages.common.requests.reproduction import FETCHED, Fetched


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What to train again. `agreed`: nobody is asked. `keep`: the folder in which it was trained stays."""

    reference: str
    agreed: bool = False
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class _Context:
    root: Path
    settings: Settings
    stop: Stop
    keep: bool


def run_reproduction(asked: Reproduction, root: Path, stop: Stop, ask: Callable[[str], bool]) -> int:
    """Train `asked.reference` again in a worktree of the repository `root`; returns the exit code of the verdict.

    Raises CapillaryError if the model cannot be found, had or trained.
    """
    _refuse_other_folder(root)
    settings = read_settings(root)
    (root / ".capillary").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=root / ".capillary") as name:
        if code := _fetch(asked.reference, root, Path(name), settings, stop):
            return code
        fetched, recipes = read_recipes(Path(name) / FETCHED)
        evaluation = read_evaluation(Path(name) / FETCHED, fetched.label) if fetched.metrics else None
    states = [*(recipe.first for recipe in recipes), *([evaluation] if evaluation else [])]
    touched = functools.partial(touched_files, root)
    for line in (*consent(fetched, recipes, touched, evaluation), *_remotes_changed(root, states)):
        print_answer(line)
    if not asked.agreed and not ask("Do you trust this commit and these changes, and train?"):
        raise UsageError("nothing was trained", remedy="answer yes, or give --yes")
    for state in states:  # before the first of them takes hours
        ensure_commit(root, state.commit, state.host.remote)
    verdict = _reproduce(
        fetched, recipes, evaluation, _Context(root=root, settings=settings, stop=stop, keep=asked.keep)
    )
    for line in lines_of(verdict):
        print_answer(line)
    return verdict.exit_code


def _remotes_changed(root: Path, states: Sequence[Recorded]) -> Iterator[str]:
    """What somebody should know of changes to DVC's config, as the diffs have them: a record may not list them."""
    if any(sets_remotes(touched_files(root, state.diff)) for state in states if state.diff):
        yield (
            "  warning: the changes are also to .dvc/config, which names DVC's remotes: whoever made them can have "
            "your logins of .dvc/config.local sent to a server of their own"
        )


def _refuse_other_folder(root: Path) -> None:
    if not (root / "dvc.yaml").is_file() or not is_repository(root):
        raise UsageError(
            "a model can only be reproduced in a clone of its project, and this folder is not one",
            file=root,
            remedy="clone the repository that trained it and run this in the clone, in the folder of dvc.yaml",
        )


def _fetch(reference: str, root: Path, folder: Path, settings: Settings, stop: Stop) -> int:
    step = Step(stage="models", argv=("provenance", reference), takes=None, makes=FETCHED, root=root)
    return run_step(step, folder, settings, choose_executor(settings), stop)


def _reproduce(fetched: Fetched, recipes: tuple[Recipe, ...], evaluation: Recorded | None, place: _Context) -> Verdict:
    cells: list[CellVerdict] = []
    measured = Measured(metrics={})
    cache_dir, reason = cache_dir_of(place.root), why_not(recipes, evaluation)
    for recipe in recipes:
        with laid_out(place.root, recipe, cache_dir, keep=place.keep) as project:
            work = _runner(project, recipe.first, place)
            work.get_data()
            cells.extend(_cells(recipe, work))
            if fetched.metrics and not reason:
                measured = measure(recipe, evaluation, _runner(project, evaluation or recipe.first, place))
            if place.keep:
                print_answer(f"kept: {project.root}")
    if fetched.metrics and reason:
        print_answer(f"the metrics are not compared: {reason}")
    return Verdict(
        label=fetched.label,
        cells=tuple(cells),
        metrics_then=fetched.metrics,
        metrics_now=measured.metrics,
        reasons=measured.reasons,
    )


def _runner(project: Project, recorded: Recorded, place: _Context) -> CommandRunner:
    """What runs DVC in `project`, with as many threads and processes as when `recorded` was made."""
    environment = environment_of(place.settings, project, recorded.record.computing)
    return CommandRunner(project, environment, place.stop, place.settings.grace_s)


def _cells(recipe: Recipe, work: CommandRunner) -> Iterator[CellVerdict]:
    for original in recipe.originals:
        print_answer(f"training {original.cell.label} again: {original.record.stage}")
        work.train(original.record.stage)
        yield _verdict(original, work)


def _verdict(original: Original, work: CommandRunner) -> CellVerdict:
    now, card = read_trained(work.project, original.record.stage)
    then = Trained(record=original.record, params=read_mapping(original.params, PARAMS))
    return CellVerdict(
        label=original.cell.label,
        stage=original.record.stage,
        weights_then=original.cell.weights_sha256,
        weights_now=str(card["weights_sha256"]),
        dsc_then=original.cell.validation_dsc,
        dsc_now=card.get("validation_dsc"),
        differences=differences(then, now),
    )
