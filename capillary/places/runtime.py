"""How a stage runs on its nodes, as a profile says: as a process there, or in a container of an image."""

from pathlib import Path

from capillary.compute.torch_builds import choose_build, pinned_cuda
from capillary.executors.container.images import architecture, environment_for, holds_torch
from capillary.executors.process import execute as process
from capillary.places.share import JobProfile
from capillary.planning.access import StageAccess
from capillary.settings import ExecutorName, Settings, TorchName
from stages.common.errors import UsageError


class Runtime:
    """The executor on the nodes, and what the packages of each stage are known by there."""

    def __init__(self, settings: Settings, profile: JobProfile) -> None:
        self._settings, self._profile = settings, profile
        self._identities: dict[str, list[str]] = {}

    @property
    def executor(self) -> ExecutorName:
        """Who runs a stage on its node."""
        return ExecutorName(self._profile.runtime)

    def identify(self, repository: Path, stage: str, access: StageAccess) -> list[str]:
        """What identifies the packages on the nodes: this interpreter, which they share, or the stage's image."""
        if self.executor is ExecutorName.PROCESS:
            identity = process.environment_id(repository, stage, access)
        else:
            identity = self._image_id(repository, access.image or stage, access)
        self._identities[stage] = identity
        return identity

    def identity_of(self, stage: str) -> list[str]:
        """What `identify` has said of `stage`."""
        return self._identities[stage]

    def _image_id(self, repository: Path, stage: str, access: StageAccess) -> list[str]:
        images = self._settings.images
        with_torch = access.gpu != "none" and holds_torch(repository, stage)
        if with_torch and self._profile.gpus and images.torch is TorchName.AUTO:
            raise UsageError(
                "the head does not see the GPUs of the nodes, so it cannot choose a build of torch for their driver",
                value="CAPILLARY_TORCH=auto",
                remedy="set CAPILLARY_TORCH to the build that the nodes can run, such as cu126 (docs/images.md)",
            )
        build = choose_build(images, pinned_cuda(repository), None) if with_torch else None
        return [environment_for(repository, stage, images, build).tag, architecture()]
