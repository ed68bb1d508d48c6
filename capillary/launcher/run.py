"""`capillary stage NAME ARGS`: from the environment that DVC sets to a stage that ran."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from capillary.compute.circumstances import Circumstances, circumstances_here
from capillary.compute.circumstances import keep as keep_circumstances
from capillary.compute.computing import stage_compute
from capillary.compute.hardware import Hardware
from capillary.dvc.graph import Entry
from capillary.executors.choose import Executor, choose_executor
from capillary.executors.process import execute as process
from capillary.integrity.delivered import refuse_damaged
from capillary.integrity.lock_file import refuse_damaged_lock
from capillary.lifetimes.stop import Stop
from capillary.params_file import check_params
from capillary.planning.access import is_gate, read_access, stage_of
from capillary.planning.gate import gate_access, gate_of, gates_before, plan_gate
from capillary.planning.make_plan import plan_stage
from capillary.planning.plan import StagePlan, StageRequest
from capillary.planning.provenance import forget, with_provenance
from capillary.publishing import finished
from capillary.publishing.leftovers import clear, plan_cleanup
from capillary.publishing.publish import publish, refuse_foreign
from capillary.publishing.remove_tree import remove_tree
from capillary.settings import Settings, read_settings
from capillary.stage_events.recording import channels, recorded
from capillary.stage_events.stage_run import StageRun
from stages.common.errors import DataError, ExitCode, UsageError
from stages.common.machine.limits import find_limits
from stages.common.program.messages import get_logger, print_messages

log = get_logger(__name__)

if TYPE_CHECKING:
    from capillary.cache.shared import SharedCache
    from capillary.places.choose import Place

ASIDE = Path(".capillary", "aside")


def run_stage(name: str, argv: tuple[str, ...], environment: Mapping[str, str], stop: Stop) -> int:
    """Plan and execute the stage that DVC asks for (DVC_ROOT, DVC_STAGE); returns its exit code.

    When it fails, the outs that DVC removed before it started are restored from DVC's cache.
    """
    request = read_request(name, argv, environment)
    refuse_damaged_lock(request.root)
    entry = Entry(request.root, request.entry)
    code: int = ExitCode.UNEXPECTED
    try:
        check_params(request.root)  # all of it: a wrong `evaluation` must not cost the trainings before it
        settings = read_settings(request.repository)
        print_messages(settings.log_level, settings.log_format, request.address)
        place = _place(request, settings)
        if place is not None and request.gated is not None:
            log.info(f"{request.stage} runs in the job of {request.gated}, on its node")
            code = 0
            return 0
        executor: Executor = place or choose_executor(settings)
        plan = checked_plan(request, entry, settings, executor, stop)
        _tell_plan(plan)
        if place is not None:
            hand_gates(place, request, entry, settings)

        def publish_outs(work: Path) -> None:
            if request.gated is None:  # a gate makes nothing from its deps
                refuse_changed_deps(plan, entry.dep_hashes())
            finished.keep(plan, work)
            publish(work, plan.outs, plan.root)
            _keep_circumstances(plan, executor, in_job=place is not None)

        look_at_state(plan, settings)
        # what dvc.lock knows already is asked for again on purpose: dvc repro --force, or an out that was removed
        code = _run_or_take(plan, settings, entry, executor, stop, publish_outs)
    finally:
        if code:
            _restore(entry)
    if plan.state_dir.is_dir() and _is_done_with(plan.state_dir, code) and not _has_job(plan, settings):
        # the outs stand, or nothing was kept: there is nothing to resume
        remove_tree(plan.state_dir)
    return code


def _tell_plan(plan: StagePlan) -> None:
    """For those who ask for details: what the run is known by, and what the stage gets. Of variables only the names."""
    log.debug(f"{plan.address}: fingerprint {plan.order.fingerprint[:16]}, environment {' '.join(plan.environment_id)}")
    for name, digest in plan.dep_hashes.items():
        log.debug(f"{plan.address}: reads {name} ({digest[:12]})")
    variables = sorted({*plan.environment, *plan.user_environment})
    log.debug(f"{plan.address}: gets the variables {', '.join(variables)}")
    log.debug(f"{plan.address}: computes with {plan.order.compute}")


def _place(request: StageRequest, settings: Settings) -> "Place | None":
    """The place beyond this machine where the stage, or the one that a gate is for, runs."""
    if not settings.is_elsewhere:
        return None
    from capillary.places.choose import choose_place  # for those who have a cluster only

    return choose_place(request.root, stage_of(request.root, request.entry), settings)


def hand_gates(place: "Place", request: StageRequest, entry: Entry, settings: Settings) -> None:
    """Let the job of `request` in `place` run the gates of its entry first."""
    gates = gates_before(entry.commands, request)
    place.take_gates([plan_request(gate, entry, settings, place) for gate in gates])


def look_at_state(plan: StagePlan, settings: Settings) -> None:
    """Remove the state from which the stage would resume if it must not; raise CapillaryError if it is not plain."""
    if not settings.resume and plan.state_dir.exists() and not _has_job(plan, settings):
        remove_tree(plan.state_dir)
    if plan.state_dir.is_dir():
        refuse_foreign(
            plan.state_dir,
            f"the state of {plan.address}",
            f"remove {plan.state_dir}; the training starts from the beginning",
        )


def _has_job(plan: StagePlan, settings: Settings) -> bool:
    """Whether a job may still be working with the plan's folders, of which this launcher knows nothing more."""
    if not settings.is_elsewhere:
        return False
    from capillary.places.job import has_job

    return has_job(plan)


def _is_done_with(state_dir: Path, code: int) -> bool:
    return code == 0 or not any(state_dir.iterdir())


def _run_or_take(
    plan: StagePlan,
    settings: Settings,
    entry: Entry,
    executor: Executor,
    stop: Stop,
    publish_outs: Callable[[Path], None],
) -> int:
    """Run `plan`, unless it had finished before DVC could record it, or somebody shared its result; returns the exit
    code.
    """
    try:
        if settings.resume and plan.access.resume and not entry.is_recorded() and finished.take(plan):
            log.info(f"{plan.address} had finished before DVC could record it; the outs of that run are used")
            return 0
        shared = _shared_cache(plan, settings, entry, stop)
        if shared is not None and _take_shared(shared, plan, entry):
            return 0
        code = _execute(executor, plan, settings, stop, publish_outs)
        if code == 0 and shared is not None and plan.gated is None:
            shared.push()
        return code
    finally:
        forget(plan)


def _shared_cache(plan: StagePlan, settings: Settings, entry: Entry, stop: Stop) -> "SharedCache | None":
    """What others computed of this entry, where the settings name a remote and DVC can know a run again."""
    if settings.shared_cache is None:
        return None
    from capillary.cache.shared import open_shared  # for those who share only

    return open_shared(plan.root, plan.repository, entry, settings, stop)


def _take_shared(shared: "SharedCache", plan: StagePlan, entry: Entry) -> bool:
    """Publish the outs that somebody shared; whether there are any. A gate only looks: its stage then runs nothing."""
    if plan.gated is not None:
        shared.has_warned = True  # its stage warns, if the remote does not answer
        return shared.fetch() is not None

    def publish_shared(work: Path) -> None:
        refuse_changed_deps(plan, entry.dep_hashes())
        publish(work, plan.outs, plan.root)

    return shared.take(publish_shared)


def _execute(
    executor: Executor, plan: StagePlan, settings: Settings, stop: Stop, publish_outs: Callable[[Path], None]
) -> int:
    """Run `plan`, with events about it where somebody listens. A gate makes nothing, and has none."""
    listening = channels(settings)
    if plan.gated is not None or not listening:
        return executor.execute(plan, stop, publish_outs)
    from capillary.lifetimes.caller import first_in_run  # for those with a listener only

    with recorded(lambda: _stage_run(plan), listening, lambda name: first_in_run(plan.repository, name)) as codes:
        codes.append(executor.execute(plan, stop, publish_outs))
    return codes[-1]


def _stage_run(plan: StagePlan) -> StageRun:
    return StageRun(
        address=plan.address,
        root=plan.repository,
        inputs=plan.dep_hashes,
        outputs=plan.outs,
        params=plan.params,
        fingerprint=plan.order.fingerprint,
        experiment=plan.order.experiment_name,
    )


def _clear_strays(request: StageRequest, entry: Entry) -> None:
    """Clear shared folders among the deps of files that no stage makes: no clone could have the hash with them."""
    aside = request.repository / ASIDE
    clear(plan_cleanup(entry.strays(), request.root, aside, entry.is_kept), request.root, request.address)


def checked_plan(request: StageRequest, entry: Entry, settings: Settings, executor: Executor, stop: Stop) -> StagePlan:
    """The plan of `request`, after a look at what the stage reads; CapillaryError for what it must not read."""
    if request.gated is None:
        _clear_strays(request, entry)  # before the plan, which has the hashes of deps
    plan = plan_request(request, entry, settings, executor)
    _refuse_foreign_inputs(plan, entry)
    if plan.access.resume:
        _refuse_state_in_results(plan, entry)
    if request.gated is None:  # a gate reads none of them
        refuse_damaged(entry.delivered(), plan.repository, lambda: stop.asked is not None)
    return plan


def _refuse_state_in_results(plan: StagePlan, entry: Entry) -> None:
    """Raise CapillaryError for checkpoints in a dep or out: it would change while the stage runs, or be replaced."""
    folder = Path(os.path.normpath(plan.state_dir.parent))
    if (held := entry.holder_of(folder)) is not None:
        name, address = held
        raise UsageError(
            f"checkpoints would be in {name}, a dep or out of {address}, which must not change while a stage runs",
            value=folder,
            remedy="name another folder in CAPILLARY_CHECKPOINT_DIR (resume.checkpoint_dir), such as .capillary/state",
        )


def _refuse_foreign_inputs(plan: StagePlan, entry: Entry) -> None:
    """Raise CapillaryError when a previous stage left a link or the like in what this one reads."""
    places = {dep.name: dep.host for dep in plan.deps if dep.host is not None}
    for name in entry.made_deps():
        if name in places:
            remedy = f"remove it and run the stage that makes {name} again"
            refuse_foreign(places[name], name, remedy, cache=plan.cache_dir)


def plan_request(request: StageRequest, entry: Entry, settings: Settings, executor: Executor) -> StagePlan:
    """The plan of a stage, or of a gate in the entry of another stage."""
    is_for_gate = request.gated is not None
    access = gate_access(request) if is_for_gate else read_access(request.root, request.stage)
    identity = executor.environment_id(request.root, request.stage, access)
    find_gpus = None if access.gpu == "none" else lambda: executor.gpus(settings)
    limits = executor.limits if settings.is_elsewhere else find_limits
    compute = stage_compute(request.root, settings, find_gpus, limits)
    if is_for_gate:
        return plan_gate(request, gate_of(request, entry), access, settings, identity, compute)
    return with_provenance(plan_stage(request, entry, access, settings, identity, compute), identity, settings)


def read_request(name: str, argv: tuple[str, ...], environment: Mapping[str, str]) -> StageRequest:
    """What DVC asks for, from the environment of a cmd.

    DVC starts a cmd in the folder of its dvc.yaml, the workspace. In a temporary or queued experiment that is under
    .dvc/tmp/exps of the repository, which DVC_ROOT names then.
    """
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise UsageError(
            "there is no dvc.yaml in the folder in which this stage starts",
            file=root,
            remedy="run dvc repro in the project; entries with `wdir` are not supported",
        )
    address = environment.get("DVC_STAGE", name).rpartition(":")[2]  # sub/dvc.yaml:train, when run from further up
    gated = address if is_gate(root, name) else None
    if gated is None and (own := stage_of(root, address)) != name:
        raise UsageError(
            f"the cmd of {address} runs the stage {name}",
            file="dvc.yaml",
            remedy=f"write `capillary stage {own}` in the cmd of this entry",
        )
    if gated == name:
        raise UsageError(
            f"{name} is a gate: it runs in the entry of another stage, before that stage",
            file="dvc.yaml",
            remedy="run dvc repro; to check only this machine: capillary preflight",
        )
    dvc_root = Path(environment.get("DVC_ROOT", root)).resolve()
    repository = _repository_of(root, dvc_root)
    asked = f"{name}@{gated}" if gated else address
    return StageRequest(stage=name, address=asked, argv=argv, root=root, repository=repository, gated=gated)


def _repository_of(root: Path, dvc_root: Path) -> Path:
    """The folder of the workspace `root` in the repository that a temporary or queued experiment is a copy of."""
    if not root.is_relative_to(dvc_root / ".dvc"):
        return root
    copy = next(folder for folder in (root, *root.parents) if (folder / ".dvc").is_dir() or folder == dvc_root / ".dvc")
    return dvc_root if copy == dvc_root / ".dvc" else dvc_root / root.relative_to(copy)


def stage_hardware(settings: Settings) -> Hardware:
    """What stages have to compute with, as their executor gives it to them."""
    executor = choose_executor(settings)
    return Hardware(gpus=executor.gpus(settings), limits=executor.limits())


def refuse_changed_deps(plan: StagePlan, now: Mapping[str, str]) -> None:
    """Raise CapillaryError when a dep is not what it was: DVC would record the outs as made from what it is `now`."""
    changed = [name for name, value in plan.dep_hashes.items() if now[name] != value]
    if changed:
        raise DataError(
            f"the outs of {plan.address} are not published: its deps changed while it ran",
            file=", ".join(changed),
            remedy="repeat dvc repro without touching these files; if nobody did, the stage itself wrote into them",
        )


def _restore(entry: Entry) -> None:
    restored = entry.restore_outs()
    if restored:
        log.info(f"former {', '.join(restored)} restored from DVC's cache")


def _keep_circumstances(plan: StagePlan, executor: Executor, *, in_job: bool) -> None:
    """Remember how the outs were computed, for an audit of the cache. A gate has none."""
    if plan.gated is not None:
        return
    found = _left_by_node(plan) if in_job else None
    if not in_job:
        found = circumstances_here(plan.environment_id, plan.order.compute, in_container=executor is not process)
    if found is not None:
        keep_circumstances(plan.repository, plan.address, plan.root, plan.outs, found)


def _left_by_node(plan: StagePlan) -> Circumstances | None:
    from capillary.places.job import job_folder
    from capillary.places.outcome import read_circumstances

    return read_circumstances(job_folder(plan))
