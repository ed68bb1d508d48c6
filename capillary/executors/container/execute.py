"""The container executor: a plan run in a sibling container."""

import dataclasses
import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError
from docker.utils.socket import frames_iter
from requests.exceptions import RequestException

from capillary.compute.hardware import allowed
from capillary.compute.torch_builds import TorchBuild, choose_build, pinned_cuda
from capillary.executors.container import gpus, remove_created
from capillary.executors.container.daemon import connect, daemon_gone, plain_errors
from capillary.executors.container.endings import EndingWatch, tell_of
from capillary.executors.container.host_paths import HostPaths
from capillary.executors.container.images import Environment, ensure_built, environment_for, holds_torch
from capillary.executors.container.logs import Log
from capillary.executors.container.place import find_place
from capillary.executors.container.scratch import Scratch, run_in_scratch
from capillary.executors.container.siblings import end, orphans, remove, siblings
from capillary.executors.container.spec import ContainerHost, ContainerSpec, container_spec
from capillary.lifetimes.leash import leash
from capillary.lifetimes.stop import Stop
from capillary.planning.access import StageAccess
from capillary.planning.plan import StagePlan
from capillary.settings import Settings
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits, find_limits
from stages.common.program.messages import get_logger

log = get_logger(__name__)

# how long the stage's supervisor may take to obey SIGKILL before the daemon is asked to do it
KILL_PATIENCE_S = 5.0


class ContainerExecutor:
    """Runs plans on one daemon."""

    def __init__(self, settings: Settings) -> None:
        """Connect; raises ServiceError when the daemon does not answer."""
        self._settings = settings
        self._api = connect(settings.variables, settings.executor)
        self._gpus: tuple[Gpu, ...] = ()
        self._environment: Environment | None = None

    def environment_id(self, repository: Path, stage: str, access: StageAccess) -> list[str]:
        """What the packages that the stage sees are known by: its image, and the daemon's kind of machine."""
        self._environment = self.environment(repository, stage, access)
        with plain_errors("tell about itself"):
            return [self._environment.tag, self._api.version()["Arch"]]

    def environment(self, repository: Path, stage: str, access: StageAccess) -> Environment:
        """The image of `stage`, or the one that it shares.

        One that computes on a GPU has torch, in the build that suits what there is.
        """
        stage = access.image or stage
        if access.gpu != "none":
            self._gpus = self._find_gpus()
        if access.gpu == "none" or not holds_torch(repository, stage):
            return environment_for(repository, stage, self._settings.images, None)
        return environment_for(repository, stage, self._settings.images, self._torch(repository))

    def _torch(self, repository: Path) -> TorchBuild:
        driver = self._gpus[0].driver if self._gpus else None
        return choose_build(self._settings.images, pinned_cuda(repository), driver)

    def _told_place(self, plan: StagePlan) -> StagePlan:
        """`plan`; that of a gate with the CUDA of the torch in the image of the stage that comes next."""
        if plan.order.gate is None:
            return plan
        cuda = self._torch(plan.root).cuda if self._gpus else None
        gate = dataclasses.replace(plan.order.gate, place="container", torch_cuda=cuda)
        return dataclasses.replace(plan, order=dataclasses.replace(plan.order, gate=gate))

    def gpus(self, _settings: Settings) -> tuple[Gpu, ...]:
        """The GPUs that containers can have here, of those that the user allows."""
        if self._environment is None:
            self._gpus = self._find_gpus()
        return self._gpus

    def limits(self) -> Limits:
        """Memory of the daemon's machine: a limit of the launcher's own container is none of the stages' containers."""
        own = find_limits()
        with plain_errors("tell about its machine"):
            memory_bytes = self._api.info().get("MemTotal")
        if not memory_bytes:
            return own
        return dataclasses.replace(
            own, memory_bytes=memory_bytes, memory_reason="memory of the Docker daemon's machine"
        )

    def _find_gpus(self) -> tuple[Gpu, ...]:
        return allowed(gpus.find_gpus(self._api, self._settings.images.base), self._settings.gpus)

    def execute(self, plan: StagePlan, stop: Stop, publish: Callable[[Path], None]) -> int:
        """Run `plan` and return its exit code (`run_in_scratch`)."""
        assert self._environment is not None
        if plan.access.gpu == "required" and not self._gpus:
            raise gpus.refuse_no_gpu(plan.address)
        plan = self._told_place(plan)
        place = dataclasses.replace(find_place(self._api), side_by_side=self._settings.side_by_side)
        self._end_orphan(plan, place.paths)
        ensure_built(self._api, self._environment, self._settings.images, plan.repository / ".capillary", stop)
        return run_in_scratch(plan, stop, publish, lambda scratch: self._run(plan, scratch, place, stop))

    def _end_orphan(self, plan: StagePlan, paths: HostPaths) -> None:
        """End the container of a launcher that was killed, if it still writes the state that this run continues
        from.
        """
        found = siblings(self._api, paths.translate(plan.repository))
        for orphan in orphans(found, plan.repository):
            if orphan.state == plan.state_dir.name:
                log.warning(f"{plan.address}: ending {orphan.name}, whose launcher has died")
                end(self._api, orphan)

    def _run(self, plan: StagePlan, scratch: Scratch, place: ContainerHost, stop: Stop) -> int:
        log = Log(plan.repository / ".capillary" / "logs", plan.address)
        try:
            with plain_errors(f"run {plan.address}"):
                running = self._start(plan, scratch, place, stop)
                if running is None:
                    return stop.exit_code
                with stop.passed_on(running.connection.send_signal, lambda: self._kill(running), plan.grace_s):
                    for stream, chunk in running.connection.output():
                        log.take(stream, chunk)
                    ending = running.watch.wait()
        finally:
            log.close()
            self._remove_all(scratch.base.name)
        if ending is None:
            raise daemon_gone(f"run {plan.address}")
        return tell_of(ending, plan, place, stop, log)

    def _start(self, plan: StagePlan, scratch: Scratch, place: ContainerHost, stop: Stop) -> "Running | None":
        """The started container; None when this launcher was asked to stop before."""
        executor = self._settings.executor.value
        with leash(sys.executable, "-P", "-m", remove_created.__name__, scratch.base.name, executor):
            container = self._create(plan, scratch, place, stop)
            if container is None:
                return None
            running = Running(
                id=container.id,
                connection=Connection(self._api, container.id),
                watch=EndingWatch(self._api, container.id),
            )
            body = container.spec.body
            log.debug(f"{plan.address}: container {container.spec.name} of {body['Image']}, {body['HostConfig']}")
            # before the start: should this process die now, the container has nothing to do and ends
            running.connection.send_start(container.spec.secrets, plan.grace_s)
            self._api.start(container.id)
            return running

    def _create(self, plan: StagePlan, scratch: Scratch, place: ContainerHost, stop: Stop) -> "Created | None":
        assert self._environment is not None
        image = self._environment.tag

        def create(devices: list[str], name: str | None = None) -> Created | None:
            spec = container_spec(plan, scratch, place, image, devices)
            with plain_errors(f"make the container of {plan.address}"):
                try:
                    made = self._api.create_container_from_config(_with_terminal(dict(spec.body)), name or spec.name)
                except APIError as error:
                    if error.status_code == 409 and name is not None:
                        return None
                    raise
            return Created(id=made["Id"], spec=spec)

        if not self._gpus:
            if plan.access.gpu == "auto" and plan.gated is None:
                log.warning(f"{plan.address}: containers get no GPU on this machine; it runs on the CPU")
            return create([])
        if plan.order.compute.device == "cpu":
            return create([])  # the profile's choice: a GPU is left to those who use it
        # a training on several GPUs gets all that the user names: no more than one can be waited for
        if self._settings.share_gpus or plan.order.compute.processes != 1:
            return create([gpu.uuid for gpu in self._gpus])
        return gpus.take_free(self._gpus, lambda gpu: create([gpu.uuid], gpus.container_name(gpu)), plan.address, stop)

    def _kill(self, running: "Running") -> None:
        """Kill the stage; if even its supervisor does not obey, the container."""
        running.connection.send_signal(signal.SIGKILL)

        def insist() -> None:
            # not this process's client: it is in the middle of an answer
            remove(connect(self._settings.variables, self._settings.executor), running.id)

        timer = threading.Timer(KILL_PATIENCE_S, insist)
        timer.daemon = True
        timer.start()

    def _remove_all(self, caller: str) -> None:
        """A container removes itself when it ends; this is for one that never started, or whose connection broke."""
        try:
            for container in self._api.containers(all=True, filters={"label": f"capillary.caller={caller}"}):
                remove(self._api, container["Id"])
        except (RequestException, APIError) as error:
            # what led here is told by who called; the container ends by itself, since its connection is gone
            sys.stderr.write(f"the daemon no longer says whether the container has ended ({type(error).__name__})\n")


@dataclass(frozen=True, kw_only=True)
class Created:
    """A container that exists and has not started."""

    id: str
    spec: ContainerSpec


@dataclass(frozen=True, kw_only=True)
class Running:
    """A container that was started."""

    id: str
    connection: "Connection"
    watch: EndingWatch


class Connection:
    """The launcher's end of a container's standard streams, attached before it starts."""

    def __init__(self, api: docker.APIClient, container: str) -> None:
        self._stream: Any = api.attach_socket(container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        self._socket = getattr(self._stream, "_sock", self._stream)
        self._socket.settimeout(None)

    def send_start(self, secrets: Any, grace_s: float) -> None:
        """The first line, which inside.py waits for."""
        self._socket.sendall(json.dumps({"environment": dict(secrets), "grace_s": grace_s}).encode() + b"\n")

    def send_signal(self, number: int) -> None:
        """Ask for signal `number` to the stage. May be called from a signal handler."""
        try:
            self._socket.sendall(f"{int(number)}\n".encode())
        except OSError:
            return  # the container has just ended

    def output(self) -> Iterator[tuple[int, bytes]]:
        """What the stage prints, as (1 for stdout or 2 for stderr, bytes), until it ends."""
        try:
            yield from frames_iter(self._stream, tty=False)
        except ConnectionResetError:
            return  # the daemon went away: who waits for the ending will know


def _with_terminal(body: dict[str, Any]) -> dict[str, Any]:
    """`body` with what makes progress bars in a container suit the terminal of this process."""
    if not sys.stdout.isatty():
        return body
    terminal = ["TTY_COMPATIBLE=1", "TTY_INTERACTIVE=1", f"COLUMNS={shutil.get_terminal_size().columns}"]
    return {**body, "Env": [*(entry for entry in body["Env"] if not entry.startswith("COLUMNS=")), *terminal]}
