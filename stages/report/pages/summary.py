"""The tables that HTML and Markdown have in common: tiles on top, a row per training, the environment."""

from dataclasses import dataclass

from stages.common.requests.report import SHORT, CellFact, Repository
from stages.common.text import counted
from stages.report.model import Report, TrackedRun, TrainedCell
from stages.report.words import NONE, duration, moment, volume_counts

MEMORY = "system/process_tree_memory_megabytes"


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """One training, or the evaluation, as text."""

    name: str
    status: str
    epochs: str = NONE
    seconds: float | None = None
    memory: str = NONE
    precision: str = NONE
    model: str = NONE
    run_id: str = ""
    url: str | None = None


def tiles(report: Report) -> list[tuple[str, str, str]]:
    """Name, value and remark of what a reader wants to know first, next to the best loss."""
    counts = volume_counts(report)
    found = []
    if counts:
        volumes = len({volume.id for volume in report.volumes})
        groups = len({volume.group for volume in report.volumes})
        remarks = [f"of {groups} group{'s' if groups > 1 else ''}"] if groups < volumes else []
        remarks += ["held out, each once"] if volumes == min(counts.values()) else []
        found.append(("volumes", str(volumes), ", ".join(remarks)))
    if report.folds:
        found.append(("folds", str(len(report.folds)), ""))
    if report.asked.facts.wall_s is not None:
        found.append(("time", duration(report.asked.facts.wall_s), "from start to end"))
    elif spent := [run.seconds for run in report.runs if run.loss is not None and run.seconds is not None]:
        found.append(("training time", duration(sum(spent)), f"sum of {counted(len(spent), 'training')}"))
    if report.asked.facts.profile:
        found.append(("profile", report.asked.facts.profile, ""))
    return found


def training_rows(report: Report) -> list[TrainingRow]:
    """Every cell that a card, a run or the runner knows, then the evaluation."""
    trained = {one.cell: one for one in report.trained}
    runs = {run.cell: run for run in report.runs if run.cell is not None}
    told = {fact.cell: fact for fact in report.asked.facts.cells or ()}
    rows = []
    for cell in dict.fromkeys([*told, *report.asked.cells]):
        one, run, fact = trained.get(cell), runs.get(cell), told.get(cell)
        known = "registered" if one else "not trained"
        status = f"{fact.status}{_where(fact)}" if fact else run.status.lower() if run else known
        own_seconds = run.seconds if run else None
        rows.append(_training_row(cell.words, status, one, run, fact.wall_s if fact and fact.wall_s else own_seconds))
    evaluation = next((run for run in report.runs if run.loss is None), None)
    if evaluation:
        rows.append(_training_row("evaluation", evaluation.status.lower(), None, evaluation, evaluation.seconds))
    return rows


def _where(fact: CellFact) -> str:
    """` on n2, waited 34 s, 1 retry` for a training that ran as a job of a cluster."""
    if fact.node is None:
        return ""
    waited = "" if fact.waited_s is None else f", waited {duration(fact.waited_s)}"
    retries = f", {fact.retries} retr{'y' if fact.retries == 1 else 'ies'}" if fact.retries else ""
    return f" on {fact.node}{waited}{retries}"


def _training_row(
    name: str, status: str, trained: TrainedCell | None, run: TrackedRun | None, seconds: float | None
) -> TrainingRow:
    memory = max((value for _, value in run.samples.get(MEMORY, ())), default=None) if run else None
    return TrainingRow(
        name=name,
        status=status,
        seconds=seconds,
        memory=NONE if memory is None else f"{memory / 1000:.1f} GB",
        epochs=str(trained.card.epochs) if trained else NONE,
        precision=trained.card.precision if trained else NONE,
        model=_model(trained) if trained else NONE,
        run_id=run.run_id if run else trained.receipt.run_id if trained and trained.receipt else "",
        url=run.url if run else None,
    )


def _model(trained: TrainedCell) -> str:
    version = trained.receipt.version if trained.receipt else ""
    return f"{trained.card.model_name} v{version}" if version else trained.card.model_name


def _dirt(repository: Repository) -> str:
    kinds = ["params.yaml changed"] if repository.params_changed else []
    if repository.changed:
        kinds.append(f"{len(repository.changed)} more changed or untracked")
    return f"dirty: {', '.join(kinds)}" if kinds else "clean"


def environment_rows(report: Report) -> list[tuple[str, str]]:
    """When, from which commit, on what."""
    rows = []
    if report.asked.facts.started:
        rows.append(("started", moment(report.asked.facts.started)))
    rows.append(("written", moment(report.asked.written)))
    if (found := report.asked.repository) is not None:
        rows.append(("Git commit", found.commit[:SHORT]))
        rows.append(("branch", "none: HEAD is detached" if found.branch == "HEAD" else found.branch))
        rows.append(("working tree", _dirt(found)))
    return [*rows, *report.asked.environment]
