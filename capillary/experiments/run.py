"""An experiment file from preflight to report, as one named DVC experiment."""

import dataclasses
import datetime
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from capillary.dvc.commands import KILL_SAFE_DVC
from capillary.dvc.forecast import StageForecast, forecast
from capillary.experiments.arrays import fetch_ahead, leave_queue, submit_ahead
from capillary.experiments.cells import Cells, Outcome
from capillary.experiments.config import ExperimentConfig, read_experiment, with_overrides
from capillary.experiments.record import choose_name, read_record, write_record
from capillary.experiments.sections import Sections
from capillary.experiments.services import start_services
from capillary.experiments.show import show_plan, tell_end
from capillary.experiments.slots import machine_facts, plan_slots
from capillary.experiments.view import View
from capillary.experiments.workspace import apply_overrides, base_params
from capillary.integrity.lock_file import forgotten, refuse_damaged_lock
from capillary.lifetimes.interrupts import passing_on
from capillary.lifetimes.stop import listening
from capillary.metrics_table import show_metrics
from capillary.params_file import check_params, check_values, known_keys, listed_cells
from capillary.places.lines import JobLine
from capillary.preflight import run_preflight, tell
from capillary.publishing.leftovers import remove_torn
from capillary.report import CellFact, RunFacts, folder_of, write_report
from capillary.setting_values import OFF
from capillary.settings import Settings, read_settings
from capillary.weights.choice import weights_in_remote
from stages.common.cell_name import CellName
from stages.common.errors import CapillaryError, ExitCode, UsageError
from stages.common.lifetimes.signals import Handler, handled, is_ignored
from stages.common.program.ending import print_report
from stages.common.program.messages import LOG_LEVEL, get_logger

log = get_logger(__name__)

BEFORE, AFTER = "preprocess", "evaluate"
LOGS = Path(".capillary", "logs", "experiments")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of the command. `resume` continues interrupted trainings whatever the file and the settings say."""

    debug: bool = False
    resume: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A checked experiment file in the workspace `root`, and the params that it stands for."""

    file: Path
    root: Path
    config: ExperimentConfig
    params: Mapping[str, Any]
    environment: Mapping[str, str]
    settings: Settings

    @property
    def cells(self) -> dict[str, CellName]:
        """The trainings, by the addresses that DVC has for them."""
        return {cell.address: cell for cell in listed_cells(self.params)}


def run_experiment(file: Path, root: Path, options: Options) -> int:
    """Check, look at the machine, run what is missing, report; returns the exit code.

    Raises ParamsError for a mistake in the file before anything is changed.
    """
    experiment = read(file, root, options)
    sections = experiment.config.sections
    if not options.dry_run:
        start_services(root, experiment.settings, sections.compute.docker_profile)
    preflight = run_preflight(
        root,
        experiment.settings,
        require_gpu=sections.compute.require_gpu,
        experiment=experiment.params,
        services=sections.services,
    )
    tell(preflight)
    remove_torn(root)
    plan = forecast(root, experiment.params)
    if lost := forgotten(root):
        log.info(f"note: dvc.lock lacks {', '.join(lost)}, which the commit has; `git restore dvc.lock` brings it back")
    if options.dry_run:
        show_plan(experiment.config, plan, plan_slots(root, experiment.settings, len(experiment.cells)))
        return ExitCode.PREFLIGHT if preflight.failed else 0
    if preflight.failed:
        log.error("nothing was started; see the remedies above")
        return ExitCode.PREFLIGHT
    return _run(experiment, plan)


def read(file: Path, root: Path, options: Options) -> Experiment:
    """The experiment that `file` and the flags ask for, every value of it checked."""
    check_params(root)
    refuse_damaged_lock(root)
    base = base_params(root)
    config = read_experiment(file, base, debug=options.debug, declared=known_keys(root))
    folder_of(root, config.name)  # a name that its report cannot have must not cost the trainings
    params = with_overrides(base, config.overrides)
    check_values(params, root, origin=str(file))
    environment = {**_environment(), **variables_of(config.sections, resume=options.resume)}
    return Experiment(
        file=file,
        root=root,
        config=config,
        params=params,
        environment=environment,
        settings=read_settings(root, environment),
    )


def variables_of(sections: Sections, *, resume: bool) -> dict[str, str]:
    """What the sections ask for, in the variables of the settings; what they leave open stays the environment's."""
    monitoring, resuming = sections.monitoring, sections.resume
    interval_s = _decimal(monitoring.monitor_interval_sec) if monitoring.system_monitor else OFF
    variables = {"CAPILLARY_MONITOR_INTERVAL_S": interval_s, "CAPILLARY_EXPERIMENT": sections.experiment.name}
    if sections.debug.enabled:
        variables["CAPILLARY_REHEARSAL"] = "yes"
    if sections.compute.profile != "auto":
        variables["CAPILLARY_PROFILE"] = sections.compute.profile
    if sections.compute.place is not None:
        variables["CAPILLARY_PLACE"] = sections.compute.place
    if sections.compute.require_gpu:
        variables["CAPILLARY_REQUIRE_GPU"] = "yes"
    if monitoring.memory_abort_process_rss_gb is not None:
        variables["CAPILLARY_MEMORY_ABORT_GB"] = _decimal(monitoring.memory_abort_process_rss_gb)
    if resume or not resuming.enabled:
        variables["CAPILLARY_RESUME"] = "yes" if resume else "no"
    if resuming.checkpoint_dir is not None:
        variables["CAPILLARY_CHECKPOINT_DIR"] = resuming.checkpoint_dir
    return variables


def _decimal(number: float) -> str:
    """As a setting is written: no exponent, and every digit."""
    return f"{Decimal(repr(number)).normalize():f}"


def _run(experiment: Experiment, plan: Sequence[StageForecast]) -> int:
    """Everything after the checks. Whatever ends it, the same command continues from there."""
    root, config = experiment.root, experiment.config
    unchanged = not any(stage.runs for stage in plan)
    name = choose_name(config, read_record(root, config), unchanged=unchanged, taken=_experiment_names(root))
    log.info(f"experiment {name}: {config.sections.experiment.description}")
    write_record(root, config, name, finished=False)
    apply_overrides(root, config.overrides)
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    environment = {**experiment.environment, "DVC_EXP_NAME": name}
    code, outcomes, cells = _stages(experiment, environment, {stage.address for stage in plan if not stage.runs})
    if code == 0 and weights_in_remote(root):
        code = subprocess.run([sys.executable, "-m", "capillary", "weights", "keep"], cwd=root, check=False).returncode
    if code == 0:
        code = _dvc(root, environment, "exp", "save", "--force", "--name", name)
    profile, environment_facts = machine_facts(root, experiment.settings)
    facts = RunFacts(
        description=config.sections.experiment.description or None,
        command=_command(experiment),
        started=started,
        wall_s=time.monotonic() - clock,
        cells=tuple(cells),
        profile=profile,
        environment=environment_facts,
    )
    report_code = _report(root, name, facts) if any(outcome.code == 0 for outcome in outcomes) else 0
    if code == 0:
        write_record(root, config, name, finished=True)
        show_metrics(root)
    tell_end(name, outcomes, code)
    return code or report_code


def _report(root: Path, name: str, facts: RunFacts) -> int:
    """Write the report; returns the exit code. Without it the experiment is as finished as with it."""
    try:
        with listening() as stop:
            log.info(f"report: {write_report(root, name, facts, stop)}")
    except CapillaryError as error:
        print_report(error)
        return error.code
    return 0


def _stages(
    experiment: Experiment, environment: Mapping[str, str], unchanged: Collection[str]
) -> tuple[int, list[Outcome], list[CellFact]]:
    """The stages before the cells, all of these side by side, the one after them.

    Of the stages that are `unchanged` only the last one is asked again: a DVC takes seconds to say the same of each.
    Returns the exit code, what became of the cells, and the same for the report.
    """
    root = experiment.root
    if BEFORE not in unchanged and (code := _dvc(root, environment, "repro", BEFORE)):
        return code, [], []
    slots = plan_slots(root, experiment.settings, len(experiment.cells))
    due = [address for address in experiment.cells if address not in unchanged]
    # what cells print is read for the view, whatever of it is shown
    level = "debug" if experiment.settings.log_level == "debug" else "info"
    of_cells = {**environment, LOG_LEVEL: level}
    code = fetch_ahead(root, environment, due, experiment.settings)
    if code := code or submit_ahead(root, of_cells, due, experiment.settings):
        return code, [], []
    with View(list(experiment.cells)) as view:
        cells = Cells(root, of_cells, root / LOGS, view, elsewhere=experiment.settings.is_elsewhere)
        with passing_on(lambda: cells.stop(asked.code - 128)) as asked:
            outcomes = cells.run(list(experiment.cells), slots, unchanged)
    if asked.code:
        leave_queue(root, experiment.cells, experiment.settings, asked.code)
    facts = [_fact(experiment.cells[outcome.address], outcome, view.job_of(outcome.address)) for outcome in outcomes]
    if asked.code:
        return asked.code, outcomes, facts
    if any(outcome.code for outcome in outcomes):
        return ExitCode.CELLS_FAILED, outcomes, facts
    # not -s: whatever changed meanwhile runs, too, before it is evaluated
    return _dvc(root, environment, "repro", AFTER), outcomes, facts


def _command(experiment: Experiment) -> str:
    """What repeats this run, a rehearsal as one."""
    debug = ["--debug"] if experiment.config.sections.debug.enabled else []
    return shlex.join(["./just", "experiment", "--config", str(experiment.file), *debug])


def _fact(cell: CellName, outcome: Outcome, job: JobLine | None = None) -> CellFact:
    status = ("trained" if outcome.ran else "up to date") if outcome.code == 0 else "failed"
    reason = None if outcome.code == 0 else f"exit code {outcome.code}, see {outcome.log}"
    fact = CellFact(
        loss=cell.loss, fold=cell.fold, seed=cell.seed, status=status, wall_s=outcome.seconds, reason=reason
    )
    if job is None:
        return fact
    return dataclasses.replace(fact, node=job.node or None, waited_s=job.waited_s, retries=job.retries)


def _dvc(root: Path, environment: Mapping[str, str], *argv: str) -> int:
    """A DVC command of which the user sees everything; its exit code, 130 or 143 when it was stopped.

    `kill` reaches this process alone: the signal is passed on to DVC, and the stage notices when DVC ends.
    """
    with subprocess.Popen([*KILL_SAFE_DVC, "--wait-for-lock", *argv], cwd=root, env=dict(environment)) as process:
        passed = {number: _to(process) for number in (signal.SIGTERM, signal.SIGHUP) if not is_ignored(number)}
        try:
            with handled(passed):
                code = process.wait()
        except BaseException:  # Ctrl-C, which the terminal sent to DVC, too
            process.kill()
            raise
    return code if code >= 0 else 128 - code


def _to(process: subprocess.Popen[bytes]) -> Handler:
    return lambda number, _frame: process.send_signal(number)


def _environment() -> dict[str, str]:
    """With this installation's programs first: the stages' cmd is `capillary`, also when no environment is active."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _experiment_names(root: Path) -> set[str]:
    argv = [*KILL_SAFE_DVC, "exp", "list", "--all-commits", "--name-only"]
    listed = subprocess.run(argv, cwd=root, check=False, capture_output=True, text=True)
    if listed.returncode:
        raise UsageError(
            "DVC cannot list the experiments of this project",
            file=root,
            value=listed.stderr.strip(),
            remedy="run this in the project's own folder: a Git repository with at least one commit",
        )
    return set(listed.stdout.split())
