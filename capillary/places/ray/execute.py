"""The place `ray`: a plan is submitted as a task, waited for, and its outs are collected."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from capillary.lifetimes.stop import Stop
from capillary.places.collect import collect
from capillary.places.follow import Follower
from capillary.places.held import clear, held, remove
from capillary.places.job import Handover, Job, gate_folder, job_folder, write_job
from capillary.places.node.others import PATIENCE_S
from capillary.places.outcome import Ended
from capillary.places.ray.cluster import Loss, Lost, RayCluster, connected
from capillary.places.ray.config import RAY_FILE, RayProfile
from capillary.places.ray.head import Head
from capillary.places.ray.task import CUT_SHORT, NO_FOLDER
from capillary.places.runtime import Runtime
from capillary.places.share import limits_of, stand_ins
from capillary.planning.access import StageAccess
from capillary.planning.plan import StagePlan
from capillary.settings import PlaceName, Settings
from stages.common.errors import CapillaryError, MachineError, UsageError
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits
from stages.common.program.messages import get_logger

log = get_logger(__name__)

ADDRESS = "RAY_ADDRESS"
MOST_SUBMISSIONS = 5
_REMEDIES = {
    Loss.NODE: "repeat to resume; raise retries of its profile in configs/ray.yaml if nodes are lost often",
    Loss.MEMORY: "raise memory_gb of its profile in configs/ray.yaml, or reduce what it processes at once "
    "(training.batch_size, "
    "training.patch_voxels); then repeat to resume",
    Loss.OTHER: "check that every node has this version of capillary and its packages, in the Python that runs Ray",
}


class RayPlace:
    """Runs the plans of one stage as tasks of `profile`. Satisfies launcher.run.Executor."""

    def __init__(self, settings: Settings, profile: RayProfile) -> None:
        self._settings = settings
        self._profile = profile
        self._runtime = Runtime(settings, profile)
        self._gates: list[StagePlan] = []

    def environment_id(self, repository: Path, stage: str, access: StageAccess) -> list[str]:
        """What identifies the packages on the nodes: this interpreter, which they share, or the stage's image."""
        return self._runtime.identify(repository, stage, access)

    def gpus(self, _settings: Settings) -> tuple[Gpu, ...]:
        """Stand-ins for the GPUs that a task is given: the head need not have any."""
        return stand_ins(self._profile, "ray")

    def limits(self) -> Limits:
        """Cores and memory of a task."""
        return limits_of(self._profile, f"what a task asks for ({RAY_FILE})")

    def take_gates(self, gates: Sequence[StagePlan]) -> None:
        """Plans of gates, which the job of the next plan runs first, on the same node."""
        self._gates = list(gates)

    def execute(self, plan: StagePlan, stop: Stop, publish: Callable[[Path], None]) -> int:
        """Run `plan` as a task; when it ends with 0, `publish` takes the outs from the folder that it is given.

        Returns the job's exit code, or that of the request to stop. A task ends with its head.
        """
        for folder in plan.writable:
            folder.mkdir(parents=True, exist_ok=True)
        folder, requests = job_folder(plan), list[int]()
        # no time limit here: how long a job may take to checkpoint is the node's affair
        with held(folder, plan.address), stop.passed_on(requests.append, lambda: None, 0.0):
            clear(folder)
            address = self._settings.variables.get(ADDRESS)
            _refuse_one_machine(self._profile, address)
            with connected(address, self._profile) as cluster:
                end = self._submit(plan, folder, cluster, requests)
            if isinstance(end, Ended):
                code = collect(plan, folder, end, publish)
                return stop.exit_code or code
            remove(folder)
            if stop.exit_code:
                return stop.exit_code
            raise explain(end, plan.address, address)

    def _submit(
        self, plan: StagePlan, folder: Path, cluster: RayCluster, requests: Sequence[int]
    ) -> Ended | Lost | str:
        jobs = [(gate, gate_folder(folder, number, gate)) for number, gate in enumerate(self._gates, start=1)]
        exported = {name for each, where in [*jobs, (plan, folder)] for name in self._write(each, where).exported()}
        variables = json.dumps({name: self._settings.variables[name] for name in sorted(exported)})
        follower = Follower(folder, plan.repository, plan.address)
        try:
            for tried in range(1, MOST_SUBMISSIONS + 1):
                task = cluster.submit(plan.address, str(folder), variables, self._profile)
                end = Head(cluster, task, folder, self._profile, follower, requests).wait()
                cluster.release(task, PATIENCE_S)
                if requests or not (end == CUT_SHORT or self._is_repeated(end, tried)):
                    break
                log.warning(f"task {task.name} of {plan.address} was cut short; it is submitted again and resumes")
        finally:
            follower.close()
        return end

    def _is_repeated(self, end: Ended | Lost | str, tried: int) -> bool:
        """Whether a task of several nodes, which Ray itself does not start again, lost one and has retries left."""
        lost = isinstance(end, Lost) and end.why is Loss.NODE
        return lost and self._profile.nodes > 1 and tried <= self._profile.retries

    def _write(self, plan: StagePlan, folder: Path) -> Job:
        handover = Handover(
            place=PlaceName.RAY,
            executor=self._runtime.executor,
            environment_id=self._runtime.identity_of(plan.stage),
            settings=self._settings,
        )
        return write_job(plan, folder, handover)


def _refuse_one_machine(profile: RayProfile, address: str | None) -> None:
    if profile.nodes > 1 and address is None:
        raise UsageError(
            f"`nodes: {profile.nodes}` needs a Ray cluster, and without {ADDRESS} Ray starts on this machine alone",
            remedy=f"set {ADDRESS} to the cluster, or nodes: 1 in {RAY_FILE}; several processes of one machine: "
            "CAPILLARY_PROCESSES",
        )


def explain(end: Lost | str, address: str, cluster: str | None) -> CapillaryError:
    """The error for a job of `address` that left no ended.json."""
    if isinstance(end, str) and end.startswith(NO_FOLDER):
        return MachineError(
            f"the node {end.removeprefix(NO_FOLDER).strip()} does not see the folder of the job of {address}",
            value=f"{ADDRESS}={cluster}",
            remedy="keep the project on a file system that the head and all nodes mount at the same path",
        )
    if isinstance(end, Lost):
        remedy = _REMEDIES.get(end.why, "repeat to resume")
        return MachineError(f"the task of {address}: {end.why}", value=end.words or None, remedy=remedy)
    return MachineError(
        f"the task of {address} was cut short {MOST_SUBMISSIONS} times",
        value=end,
        remedy="see its log (.capillary/logs) for the reason, then repeat to resume",
    )
