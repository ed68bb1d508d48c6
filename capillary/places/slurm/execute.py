"""The place `slurm`: a plan is submitted as a job, waited for, and its outs are collected."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from capillary.lifetimes.stop import Stop
from capillary.places.collect import collect
from capillary.places.follow import Follower
from capillary.places.held import clear, held, remove
from capillary.places.job import Handover, Job, gate_folder, job_folder, write_job
from capillary.places.outcome import Ended
from capillary.places.runtime import Runtime
from capillary.places.share import limits_of, stand_ins
from capillary.places.slurm.config import SLURM_FILE, SlurmProfile
from capillary.places.slurm.endings import explain, nodes_full
from capillary.places.slurm.head import DETACHED, Head, Requests
from capillary.places.slurm.submitted import Submitted, find_or_submit
from capillary.planning.access import StageAccess
from capillary.planning.plan import StagePlan
from capillary.settings import PlaceName, Settings
from stages.common.errors import CapillaryError, ExitCode
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits
from stages.common.program.messages import get_logger

log = get_logger(__name__)

_RESUBMITTED = {"NODE_FAIL", "BOOT_FAIL", "PREEMPTED"}
MOST_SUBMISSIONS = 5


class SlurmPlace:
    """Runs the plans of one stage as jobs of `profile`. Satisfies launcher.run.Executor."""

    def __init__(self, settings: Settings, profile: SlurmProfile) -> None:
        self._settings = settings
        self._profile = profile
        self._runtime = Runtime(settings, profile)
        self._gates: list[StagePlan] = []

    def environment_id(self, repository: Path, stage: str, access: StageAccess) -> list[str]:
        """What identifies the packages on the nodes: this interpreter, which they share, or the stage's image."""
        return self._runtime.identify(repository, stage, access)

    def gpus(self, _settings: Settings) -> tuple[Gpu, ...]:
        """Stand-ins for the GPUs that a job is given: the head need not have any."""
        return stand_ins(self._profile, "slurm", self._profile.gpu_type or "GPU of the cluster")

    def limits(self) -> Limits:
        """Cores and memory of a job."""
        return limits_of(self._profile, f"what a job asks for ({SLURM_FILE})")

    def take_gates(self, gates: Sequence[StagePlan]) -> None:
        """Plans of gates, which the job of the next plan runs first, on the same node."""
        self._gates = list(gates)

    def execute(self, plan: StagePlan, stop: Stop, publish: Callable[[Path], None]) -> int:
        """Run `plan` as a job; when it ends with 0, `publish` takes the outs from the folder that it is given.

        Returns the job's exit code, or that of the request to stop. Only Ctrl-C stops the job: a head that is ended
        in another way leaves it, and the same command finds it again.
        """
        for folder in plan.writable:
            folder.mkdir(parents=True, exist_ok=True)
        folder = job_folder(plan)
        requests: list[int] = []
        # no time limit here: how long a job may take to checkpoint is the node's affair
        with held(folder, plan.address), stop.passed_on(requests.append, lambda: None, 0.0):
            return self._run(plan, folder, Requests(stop=stop, delivered=requests), publish)

    def _run(self, plan: StagePlan, folder: Path, requests: Requests, publish: Callable[[Path], None]) -> int:
        full: dict[str, str] = {}  # node → its folder for temporary files, which is full
        for tried in range(1, MOST_SUBMISSIONS + 1):
            submitted = self._submitted(plan, folder, full)
            follower = self.follower(plan, folder)
            try:
                end = Head(folder, submitted, follower, requests).wait()
            finally:
                follower.close()
            if isinstance(end, Ended) and end.full and not requests.exit_code:
                full[end.node] = end.full
                if tried == MOST_SUBMISSIONS:
                    break
                _tell_of_full(plan, end, full)
                clear(folder)
                continue
            if isinstance(end, Ended):
                code = collect(plan, folder, end, publish)
                return requests.exit_code or code
            if end == DETACHED:
                return requests.exit_code
            if end not in _RESUBMITTED or tried == MOST_SUBMISSIONS:
                break
            log.warning(f"job {submitted.job} of {plan.address} was lost ({end}); it is submitted again and resumes")
        remove(folder)
        if requests.exit_code:
            return requests.exit_code
        if isinstance(end, Ended):
            raise nodes_full(plan.address, full)
        raise explain(str(end), plan.address, submitted.job, follower.kept)

    def _submitted(self, plan: StagePlan, folder: Path, full: Mapping[str, str]) -> Submitted:
        """The job of `plan`, found again or submitted, without the nodes that are `full`."""
        profile = self._profile.without(full)
        self.catch_up(plan, folder)
        try:
            return find_or_submit(plan, folder, profile, self.write, self.variables())
        except CapillaryError as error:
            if not full or error.code != ExitCode.SERVICE:
                raise
            remove(folder)
            raise nodes_full(plan.address, full) from error

    def write(self, plan: StagePlan, folder: Path) -> list[Job]:
        """Write the jobs of the gates of `plan`, and its own, into `folder`."""
        gates = [(gate, gate_folder(folder, number, gate)) for number, gate in enumerate(self._gates, start=1)]
        return [write_job(each, where, self._handover(each)) for each, where in [*gates, (plan, folder)]]

    def variables(self) -> Mapping[str, str]:
        """The environment from which jobs get the variables that they need."""
        return os.environ

    def catch_up(self, plan: StagePlan, folder: Path) -> None:
        """Nothing to fetch for a head that finds the job of a former one: the nodes share this machine's disk."""

    def follower(self, plan: StagePlan, folder: Path) -> Follower:
        """Who shows the log of the job in `folder`."""
        return Follower(folder, plan.repository, plan.address)

    def _handover(self, plan: StagePlan) -> Handover:
        return Handover(
            place=PlaceName.SLURM,
            executor=self._runtime.executor,
            environment_id=self._runtime.identity_of(plan.stage),
            settings=self._settings,
            reads_env_file=not self._profile.is_apart,
        )


def _tell_of_full(plan: StagePlan, end: Ended, full: Mapping[str, str]) -> None:
    log.warning(
        f"the disk of node {end.node} is full ({end.full}); the job of {plan.address} is submitted again without "
        f"that node (--exclude={','.join(full)})"
    )
