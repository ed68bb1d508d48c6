"""Environment images: one per stage, known by the hash of the files that make it, built when that is missing."""

import contextlib
import hashlib
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from capillary.compute.torch_builds import CPU, TorchBuild
from capillary.executors.container.daemon import explain, plain_errors
from capillary.executors.container.podman import service as podman
from capillary.lifetimes.stop import Stop
from capillary.proxies import credentials_in, loopback_proxies, proxy_names, without
from capillary.settings import ExecutorName, ImageSettings
from stages.common.errors import CapillaryError, MachineError, UsageError
from stages.common.lifetimes.locks import take
from stages.common.lifetimes.shutdown import GRACE_S
from stages.common.program.messages import get_logger

log = get_logger(__name__)

TARGET = "runtime"
SCRIPTS = Path("services", "images")  # for every Dockerfile that copies them
TAIL_LINES = 15
_POLL_S = 0.2
_INDEX = "TORCH_INDEX"  # the variable that the docker command finds the index in: its URL may hold a password


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a stage's image is made from; all files are in the folder `root`.

    `torch_index` is a package index for torch, a secret of the build; `build_args` stay in the image's history.
    """

    stage: str
    root: Path
    build_args: Mapping[str, str]
    torch_index: str = ""

    @property
    def dockerfile(self) -> Path:
        """The stage's own, or the one for all stages that have none."""
        own, common = self.root / "stages" / self.stage / "Dockerfile", self.root / "stages" / "Dockerfile"
        return common if common.is_file() and not own.is_file() else own

    @property
    def files(self) -> tuple[Path, ...]:
        """All that decides what the image holds."""
        pins = (self.root / "stages" / self.stage / "requirements.txt", self.root / "constraints.txt")
        return (self.dockerfile, *pins, *self._scripts)

    @property
    def _is_common(self) -> bool:
        return self.dockerfile.parent == self.root / "stages"

    @property
    def _scripts(self) -> list[Path]:
        """Those that the Dockerfile copies."""
        runs_them = self.dockerfile.is_file() and bytes(SCRIPTS) in self.dockerfile.read_bytes()
        return sorted((self.root / SCRIPTS).glob("*.sh")) if runs_them else []

    @property
    def tag(self) -> str:
        """`capillary-train:4f0c…`: the same files and arguments give the same tag on every machine.

        It names the CUDA version of torch: `capillary-train:cu126-4f0c…`.
        """
        digest = hashlib.sha256()
        for part in [*(file.read_bytes() for file in self.files), *(f"{k}={v}".encode() for k, v in self._arguments())]:
            digest.update(len(part).to_bytes(8) + part)
        cuda = self.build_args.get("TORCH_CUDA", "").replace(".", "")
        return f"capillary-{self.stage}:{f'cu{cuda}-' if cuda else ''}{digest.hexdigest()[:12]}"

    def build_argv(
        self, variables: Mapping[str, str], *, progress: str = "plain", program: str = "docker"
    ) -> list[str]:
        """The command that builds it, `docker` or `podman`, started with `build_variables`.

        Proxies among `variables` go to the build by name alone, so that no process list shows their passwords. One at
        a loopback address is reached through the machine's own network only.
        """
        given = [f"{name}={value}" for name, value in self._arguments()]
        arguments = [word for each in (*given, *proxy_names(variables)) for word in ("--build-arg", each)]
        secrets = ["--secret", f"id=torch_index,env={_INDEX}"] if self.torch_index else []
        network = ["--network", "host"] if loopback_proxies(variables) else []
        labels = ["--label", f"capillary.environment={self.stage}", "--label", f"capillary.project={self.root}"]
        places = ["--file", str(self.dockerfile), "--target", TARGET, "--tag", self.tag, str(self.root)]
        shown = ["--progress", progress] if program == "docker" else []
        return [program, "build", *shown, *network, *arguments, *secrets, *labels, *places]

    def build_variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        """What the docker command finds in its environment: the user's `variables`, and the secret of the build."""
        secret = {_INDEX: self.torch_index} if self.torch_index else {}
        return {**variables, **secret, "DOCKER_BUILDKIT": "1"}

    def _arguments(self) -> list[tuple[str, str]]:
        stage = {"STAGE": self.stage} if self._is_common else {}
        return sorted({**self.build_args, **stage}.items())


def environment_for(root: Path, stage: str, settings: ImageSettings, torch: TorchBuild | None) -> Environment:
    """The environment of `stage`; `torch` is None for a stage without it.

    Raises CapillaryError when a file that makes it is missing.
    """
    arguments = {"BASE": settings.base}
    if torch is not None:
        arguments["TORCH"] = CPU if torch.cuda == CPU else "cuda"
        if torch.label:
            arguments["TORCH_CUDA"] = str(torch.cuda)
        if torch.index:  # a secret decides nothing about layers that Docker has: this says that it is another index
            arguments["TORCH_INDEX_ID"] = hashlib.sha256(torch.index.encode()).hexdigest()
    index = "" if torch is None else torch.index
    environment = Environment(stage=stage, root=root, build_args=arguments, torch_index=index)
    for file in environment.files:
        if not file.is_file():
            raise UsageError(
                f"the image of {stage} cannot be built without {file.relative_to(root)}",
                file=file,
                remedy="restore it (git checkout), or set CAPILLARY_EXECUTOR=process to run without containers",
            )
    return environment


def architecture() -> str:
    """This machine's kind, as Docker calls it: one image has the same name in every engine."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def holds_torch(root: Path, stage: str) -> bool:
    """Whether the stage requires torch; one that only looks at a GPU does not."""
    file = root / "stages" / stage / "requirements.txt"
    return file.is_file() and any(line.startswith("torch==") for line in file.read_text().splitlines())


def is_built(api: docker.APIClient, tag: str) -> bool:
    """Whether the daemon has the image."""
    try:
        with plain_errors(f"look for the image {tag}"):
            api.inspect_image(tag)
    except CapillaryError as error:
        if isinstance(error.__cause__, ImageNotFound):
            return False
        raise
    return True


def ensure_built(
    api: docker.APIClient, environment: Environment, settings: ImageSettings, lock_folder: Path, stop: Stop
) -> None:
    """Build the image unless the daemon has it. Of launchers that need the same one, one builds and the others wait."""
    if is_built(api, environment.tag):
        return
    with _turn(lock_folder / "build.lock", stop):
        if stop.asked is None and not is_built(api, environment.tag):
            log.info(
                f"building {environment.tag}, once until its Dockerfile or requirements change; this takes minutes"
            )
            _build(environment, settings, stop)


@contextlib.contextmanager
def _turn(lock: Path, stop: Stop) -> Iterator[None]:
    """Hold `lock` for the block; one that is asked to stop waits no longer for it."""
    told = False
    while (stream := take(lock, make_folder=True)) is None and stop.asked is None:
        if not told:
            log.info("waiting for another command of this project, which builds an image")
            told = True
        time.sleep(_POLL_S)
    with stream or contextlib.nullcontext():
        yield


def _build(environment: Environment, settings: ImageSettings, stop: Stop) -> None:
    variables = settings.client_environment
    program = podman.PROGRAM if settings.executor is ExecutorName.PODMAN else "docker"
    if names := loopback_proxies(variables):
        log.info(
            f"the proxy of {', '.join(names)} listens on this machine only: the build uses the machine's own network"
        )
    urls = [*(variables[name] for name in proxy_names(variables)), environment.torch_index]
    hidden = credentials_in(urls)
    # docker itself draws on the terminal; what holds a password goes through this process
    to_terminal = sys.stderr.isatty() and not hidden
    process = _start(environment, variables, program, to_terminal=to_terminal)
    tail: list[str] = []
    with stop.passed_on(process.send_signal, process.kill, GRACE_S):
        for line in process.stderr or ():
            shown = without(hidden, line)
            sys.stderr.write(shown)
            tail = [*tail[1 - TAIL_LINES :], shown.rstrip()]
        code = process.wait()
    if code and stop.asked is None:
        raise _build_error(environment, "\n          ".join(tail) or "see above", names)


def _start(
    environment: Environment, variables: Mapping[str, str], program: str, *, to_terminal: bool
) -> "subprocess.Popen[str]":
    try:
        return subprocess.Popen(
            environment.build_argv(variables, progress="auto" if to_terminal else "plain", program=program),
            # the client's own settings (DOCKER_HOST, configuration, certificates) are those of this process
            env=environment.build_variables(variables),
            stderr=None if to_terminal else subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    except FileNotFoundError as error:
        package = "Docker's command line (docker-ce-cli, docker-cli)" if program == "docker" else program
        raise MachineError(
            f"images are built by the {program} command, which is not on PATH",
            remedy=f"install {package}, or set CAPILLARY_EXECUTOR=process",
        ) from error


def _build_error(environment: Environment, last: str, loopback: Sequence[str]) -> CapillaryError:
    if "no space left" in last.lower():
        return explain(last, f"build {environment.tag}")
    proxy = (
        f"; {', '.join(loopback)} names a loopback address, which for the build is the Docker daemon's own; if the "
        "daemon runs elsewhere (DOCKER_HOST, Docker Desktop, rootless), name an address that it can reach"
    )
    return MachineError(
        f"the image of {environment.stage} could not be built",
        file=environment.dockerfile.relative_to(environment.root),
        value=last,
        remedy="read the build's output (the usual causes are a missing network and a full disk), then "
        f"repeat: finished steps are kept{proxy if loopback else ''}",
    )
