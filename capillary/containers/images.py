"""Environment images: one a stage, known by the hash of the files that make it, built when that is missing."""

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from capillary.containers.daemon import explain, plain_errors
from capillary.launcher.stop import Stop
from capillary.settings import ImageSettings
from stages.common.errors import CapillaryError, ExitCode
from stages.common.progress import say

TARGET = "runtime"
TAIL_LINES = 15


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a stage's image is made from. `files` and `context` lie in the folder `root`."""

    stage: str
    root: Path
    build_args: Mapping[str, str]

    @property
    def dockerfile(self) -> Path:
        """The stage's Dockerfile."""
        return self.root / "stages" / self.stage / "Dockerfile"

    @property
    def files(self) -> tuple[Path, ...]:
        """All that decides what the image holds."""
        folder = self.root / "stages" / self.stage
        return (folder / "Dockerfile", folder / "requirements.txt", self.root / "constraints.txt")

    @property
    def tag(self) -> str:
        """`capillary-train:4f0c…`: the same files and arguments give the same tag on every machine."""
        digest = hashlib.sha256()
        for part in [*(file.read_bytes() for file in self.files), *(f"{k}={v}".encode() for k, v in self._arguments())]:
            digest.update(len(part).to_bytes(8) + part)
        return f"capillary-{self.stage}:{digest.hexdigest()[:12]}"

    def build_argv(self) -> list[str]:
        """The command that builds it."""
        arguments = [word for name, value in self._arguments() for word in ("--build-arg", f"{name}={value}")]
        labels = ["--label", f"capillary.environment={self.stage}", "--label", f"capillary.project={self.root}"]
        progress = ["--progress", "auto" if sys.stderr.isatty() else "plain"]
        places = ["--file", str(self.dockerfile), "--target", TARGET, "--tag", self.tag, str(self.root)]
        return ["docker", "build", *progress, *arguments, *labels, *places]

    def _arguments(self) -> list[tuple[str, str]]:
        return sorted(self.build_args.items())


def environment_for(root: Path, stage: str, settings: ImageSettings, *, cuda: bool | None) -> Environment:
    """The environment of `stage`; `cuda` is None for a stage without torch.

    Raises CapillaryError when a file that makes it is missing.
    """
    arguments = {"BASE": settings.base}
    if cuda is not None:
        arguments |= {"TORCH": "cuda" if cuda else "cpu", "TORCH_INDEX": settings.torch_index}
    environment = Environment(stage=stage, root=root, build_args=arguments)
    for file in environment.files:
        if not file.is_file():
            raise CapillaryError(
                f"the image of {stage} cannot be made without {file.relative_to(root)}",
                file=file,
                remedy="restore it (git checkout), or set CAPILLARY_EXECUTOR=process to run without containers",
                code=ExitCode.USAGE,
            )
    return environment


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
    lock_folder.mkdir(parents=True, exist_ok=True)
    with (lock_folder / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stop.asked is None and not is_built(api, environment.tag):
            say(f"building {environment.tag}, once until its Dockerfile or requirements change; this takes minutes")
            _build(environment, settings, stop)


def _build(environment: Environment, settings: ImageSettings, stop: Stop) -> None:
    tail: list[str] = []
    try:
        process = subprocess.Popen(
            environment.build_argv(),
            # the client's own settings (DOCKER_HOST, configuration, certificates) are those of this process
            env={**settings.client_environment, "DOCKER_BUILDKIT": "1"},
            stderr=None if sys.stderr.isatty() else subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    except FileNotFoundError as error:
        raise CapillaryError(
            "images are built by the docker command, which is not on PATH",
            remedy="install Docker's command line (docker-ce-cli, docker-cli), or set CAPILLARY_EXECUTOR=process",
            code=ExitCode.MACHINE,
        ) from error
    with stop.passed_on(process.send_signal, process.kill, 10):
        for line in process.stderr or ():
            sys.stderr.write(line)
            tail = [*tail[1 - TAIL_LINES :], line.rstrip()]
        code = process.wait()
    if code and stop.asked is None:
        last = "\n          ".join(tail) or "see above"
        if "no space left" in last.lower():
            raise explain(last, f"build {environment.tag}")
        raise CapillaryError(
            f"the image of {environment.stage} could not be built",
            file=environment.dockerfile.relative_to(environment.root),
            value=last,
            remedy="read the build's output; what is often the cause: no network for packages, or a full disk; then "
            "repeat, finished steps are kept",
            code=ExitCode.MACHINE,
        )
