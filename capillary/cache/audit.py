"""`capillary cache audit`: recompute a random share of the recorded results, and name those that come out otherwise."""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from capillary.cache.choose import choose
from capillary.cache.judge import Judgement, Verdict, failed, judge, not_comparable
from capillary.cache.project import CurrentEntry, Project
from capillary.cache.recompute import (
    audit_folder,
    circumstances_now,
    command_of,
    has_server,
    plan_again,
    reads_registry,
)
from capillary.cache.recorded import Recorded
from capillary.cache.show import as_json, show_chosen, show_judgement, show_left_out, show_summary, stdout_as_stderr
from capillary.compute.circumstances import Circumstances, digests_of, recall
from capillary.executors.choose import Executor, choose_executor
from capillary.integrity.lock_file import refuse_damaged_lock
from capillary.lifetimes.stop import Stop
from capillary.planning.access import read_access, stage_of
from capillary.project_folder import require_project
from capillary.settings import Settings, read_settings
from stages.common.errors import CapillaryError, ExitCode, UsageError
from stages.common.program.console import answer_is_for_program


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which share (0 to 1) of the results of which stage (None: all) to recompute; `seed` None draws one."""

    share: float
    seed: int | None = None
    stage: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditSelection:
    """What is recomputed, of how many, the stages that cannot be, with the reason, and the results of elsewhere."""

    records: tuple[Recorded, ...]
    of: int
    seed: int
    left_out: dict[str, str]
    not_comparable: tuple[Judgement, ...]


def run_audit(question: Question, root: Path, stop: Stop, *, json: bool) -> int:
    """Audit the cache of the workspace `root`, which is not changed; returns the exit code."""
    if json:
        answer_is_for_program()
    require_project(root)
    refuse_damaged_lock(root)
    settings = read_settings(root)
    project = Project(root)
    executor = choose_executor(settings)
    chosen = plan_audit(question, project, settings, executor)
    if not json:
        show_left_out(chosen.left_out)
        for judgement in chosen.not_comparable:
            show_judgement(judgement, root)
        show_chosen(len(chosen.records), chosen.of, chosen.seed)
    judgements = list(chosen.not_comparable)
    with stdout_as_stderr() if json else contextlib.nullcontext():  # a stage prints its progress
        for judgement in _judgements(chosen.records, project, settings, executor, stop):
            judgements.append(judgement)
            if not json:
                show_judgement(judgement, root)
    if json:
        print(as_json(judgements, root, seed=chosen.seed, of=chosen.of))  # noqa: T201 - for machines
    else:
        show_summary(judgements)
    return stop.exit_code or exit_code(judgements)


def plan_audit(question: Question, project: Project, settings: Settings, executor: Executor) -> AuditSelection:
    """What `question` asks for. Raises CapillaryError for a stage that dvc.yaml does not have."""
    stages = [each for each in project.stages() if question.stage in (None, each.stage, each.address)]
    if not stages:
        raise UsageError(
            f"dvc.yaml has no stage {question.stage}",
            file=project.root / "dvc.yaml",
            remedy="`dvc stage list` shows the names",
        )
    reasons = {each.address: reason for each in stages if (reason := _obstacle(each, project.root, settings))}
    records = project.records([each for each in stages if each.address not in reasons])
    records = [each for each in records if command_of(each, stage_of(project.root, each.address)) is not None]
    elsewhere = _not_comparable(records, project.root, settings, executor)
    records = [each for each in records if each.identity not in elsewhere]
    seed = secrets.randbelow(2**31) if question.seed is None else question.seed
    return AuditSelection(
        records=tuple(choose(records, question.share, seed)),
        of=len(records),
        seed=seed,
        left_out=reasons,
        not_comparable=tuple(elsewhere.values()),
    )


def exit_code(judgements: Sequence[Judgement]) -> int:
    """The worst of `judgements`: a result that nothing explains, then one that could not be computed again."""
    verdicts = {each.verdict for each in judgements}
    if Verdict.UNEXPLAINED in verdicts:
        return ExitCode.DATA
    return ExitCode.CELLS_FAILED if Verdict.NOT_RECOMPUTED in verdicts else 0


def _not_comparable(
    records: Sequence[Recorded], root: Path, settings: Settings, executor: Executor
) -> dict[str, Judgement]:
    """Identity → what is said of each result that is known to come from another environment than this machine's."""
    known = [(each, found) for each in records if (found := recall(root, each.address, each.outs)) is not None]
    here: dict[str, Circumstances | None] = {}
    judgements = {}
    for record, found in known:
        stage = stage_of(root, record.address)
        if stage not in here:
            here[stage] = _now(root, stage, settings, executor)
        now = here[stage]
        if now is not None and (judgement := not_comparable(record, found, now)) is not None:
            judgements[record.identity] = judgement
    return judgements


def _now(root: Path, stage: str, settings: Settings, executor: Executor) -> Circumstances | None:
    """None for a stage that cannot run here: its recomputation says why."""
    try:
        return circumstances_now(root, stage, settings, executor)
    except CapillaryError:
        return None


def _obstacle(stage: CurrentEntry, root: Path, settings: Settings) -> str | None:
    """Why the results of `stage` cannot be audited."""
    if not stage.is_reproducible:
        return "it reads from outside the project, or its outs stay in place"
    if reads_registry(read_access(root, stage.stage)) and has_server(settings):
        return "it reads models from the MLflow server, and an audit has no access to it"
    return None


def _judgements(
    records: Sequence[Recorded], project: Project, settings: Settings, executor: Executor, stop: Stop
) -> Iterator[Judgement]:
    for record in records:
        if stop.asked is not None:
            return
        try:
            yield _audit(record, project, settings, executor, stop)
        except CapillaryError as error:  # one result less; its reason is reported, and the exit code says so
            yield failed(record, f"{error.what}; {error.remedy}")


def _audit(record: Recorded, project: Project, settings: Settings, executor: Executor, stop: Stop) -> Judgement:
    outs: dict[str, str] = {}
    with audit_folder(project.root) as folder:
        again = plan_again(record, project, folder, settings, executor)
        code = executor.execute(again.plan, stop, lambda work: outs.update(digests_of(work, again.plan.outs)))
    if code:
        return failed(record, f"its stage ended with exit code {code}")
    return judge(record, outs, recall(project.root, record.address, record.outs), again.circumstances)
