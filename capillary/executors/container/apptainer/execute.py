"""The Apptainer executor: a plan run in an image file, without a daemon and without root."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from capillary.compute.torch_builds import choose_build, pinned_cuda
from capillary.executors.container.apptainer.argv import PROGRAM, exec_argv, exec_environment
from capillary.executors.container.apptainer.image import require_image
from capillary.executors.container.host_paths import SamePaths
from capillary.executors.container.images import architecture, environment_for, holds_torch
from capillary.executors.container.scratch import Scratch, run_in_scratch
from capillary.executors.container.spec import ContainerHost, binds_of, files_of, handed_on
from capillary.executors.process import execute as process
from capillary.lifetimes.leash import kill_group, leash
from capillary.lifetimes.stop import Stop, tell_of_kill
from capillary.planning.access import StageAccess
from capillary.planning.plan import StagePlan
from capillary.settings import Settings
from stages.common.errors import MachineError
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits

IMAGES = Path(".capillary", "images")


class ApptainerExecutor:
    """Runs plans in image files of the project, .capillary/images/*.sif."""

    def __init__(self, settings: Settings) -> None:
        """Raises CapillaryError if there is no Apptainer."""
        self._settings = settings
        self._image: Path | None = None
        if shutil.which(PROGRAM, path=settings.variables.get("PATH")) is None:
            raise MachineError(
                "apptainer is not on PATH",
                remedy="load it (often: module load apptainer), or set CAPILLARY_EXECUTOR=process",
            )

    def environment_id(self, repository: Path, stage: str, access: StageAccess) -> list[str]:
        """What the packages that the stage sees are known by: its image, as in a container of Docker."""
        own = access.image or stage
        images = self._settings.images
        driver = next((gpu.driver for gpu in self.gpus(self._settings)), None) if access.gpu != "none" else None
        has_torch = access.gpu != "none" and holds_torch(repository, own)
        build = choose_build(images, pinned_cuda(repository), driver) if has_torch else None
        tag = environment_for(repository, own, images, build).tag
        self._image = require_image(repository / IMAGES, tag, own)
        return [tag, architecture()]

    def gpus(self, settings: Settings) -> tuple[Gpu, ...]:
        """The GPUs that a process started here sees: Apptainer hands the same on."""
        return process.gpus(settings)

    def limits(self) -> Limits:
        """Those of this process, which stages inherit."""
        return process.limits()

    def execute(self, plan: StagePlan, stop: Stop, publish: Callable[[Path], None]) -> int:
        """Run `plan` and return its exit code (`run_in_scratch`)."""
        return run_in_scratch(plan, stop, publish, lambda scratch: self._run(plan, scratch, stop))

    def _run(self, plan: StagePlan, scratch: Scratch, stop: Stop) -> int:
        assert self._image is not None
        place = ContainerHost(paths=SamePaths(), own_id=None, user="")
        secrets = {**handed_on(plan, place), **_devices(plan)}
        binds = [*binds_of(plan, scratch, place.paths), *files_of(secrets, place.paths)]
        with_gpu = plan.order.compute.device != "cpu" and plan.access.gpu != "none" and bool(self.gpus(self._settings))
        argv = exec_argv(plan, self._image, binds, with_gpu=with_gpu)
        with leash() as tie:
            program = subprocess.Popen(
                argv, env=exec_environment(plan, _own_variables()), stdin=subprocess.PIPE, process_group=0
            )
            tie(program.pid)
            inside = Inside(program)
            inside.start(secrets, plan.grace_s)
            with stop.passed_on(inside.ask, lambda: kill_group(program.pid), plan.grace_s):
                code = program.wait()
            kill_group(program.pid)
        if stop.killed:
            sys.stderr.write(f"{plan.address} {tell_of_kill(plan.grace_s)}\n")
        return stop.exit_code or (code if code >= 0 else 128 - code)


@dataclasses.dataclass(frozen=True)
class Inside:
    """The launcher's end of the connection to capillary/lifetimes/inside.py, the first process in the image."""

    program: "subprocess.Popen[bytes]"

    def start(self, secrets: Mapping[str, str], grace_s: float) -> None:
        """The first line, which it waits for: secrets are in no argument and no file."""
        self._send(json.dumps({"environment": dict(secrets), "grace_s": grace_s}))

    def ask(self, number: signal.Signals) -> None:
        """Ask for a signal to the stage. May be called from a signal handler."""
        self._send(str(int(number)))

    def _send(self, line: str) -> None:
        assert self.program.stdin is not None
        try:
            self.program.stdin.write(f"{line}\n".encode())
            self.program.stdin.flush()
        except BrokenPipeError:
            return  # it has just ended: its exit code tells


def _devices(plan: StagePlan) -> dict[str, str]:
    """Numbers of GPUs, which mean the same in the image as outside it."""
    return {name: value for name, value in plan.environment.items() if name == "CUDA_VISIBLE_DEVICES"}


def _own_variables() -> dict[str, str]:
    """What Apptainer itself reads, without variables that a user's shell would hand to every image."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("APPTAINERENV_", "SINGULARITYENV_"))
    }
