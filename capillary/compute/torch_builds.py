"""Builds of the pinned torch, one for each CUDA version, and which of them the driver of this machine runs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capillary.settings import ImageSettings, TorchName
from stages.common.errors import UsageError
from stages.common.machine.gpus import driver_runs, numbers_of

CPU = "cpu"


@dataclass(frozen=True, kw_only=True)
class TorchBuild:
    """One build. `cuda` is the version that it was made with (`12.6`, or `cpu`), None if nobody says.

    `index` is the package index that has it; pip's own where it is empty.
    """

    cuda: str | None
    index: str

    @property
    def label(self) -> str | None:
        """`cu126`, as wheels and indexes call it."""
        return None if self.cuda in {None, CPU} else f"cu{str(self.cuda).replace('.', '')}"


def pinned_cuda(root: Path) -> str | None:
    """The CUDA of the torch that constraints.txt brings from pip's own index; None if it pins none."""
    file = root / "constraints.txt"
    found = re.search(r"^cuda-toolkit==(\d+\.\d+)", file.read_text(), re.MULTILINE) if file.is_file() else None
    return found[1] if found else None


def choose_build(settings: ImageSettings, pinned: str | None, driver: str | None) -> TorchBuild:
    """The build that images hold: `driver` is that of the GPUs that containers can have, None if there are none.

    `auto` takes the newest that the driver runs; where it runs none, the usual one, which preflight then refuses.
    Raises CapillaryError for a build that CAPILLARY_TORCH names and no index has.
    """
    if settings.torch is TorchName.CPU or (settings.torch is TorchName.AUTO and driver is None):
        return TorchBuild(cuda=CPU, index=settings.torch_indexes.get(CPU, settings.torch_index))
    builds = cuda_builds(settings, pinned)
    if settings.torch_build is not None:
        return _named(builds, settings.torch_build)
    return (driver and newest_for(driver, builds)) or builds[-1]


def cuda_builds(settings: ImageSettings, pinned: str | None) -> list[TorchBuild]:
    """All builds with CUDA that an index is known for; the last one is taken where nothing tells them apart.

    That is what pip's own index has, or CAPILLARY_TORCH_INDEX; of the latter nobody says the CUDA unless its name does.
    """
    own = [TorchBuild(cuda=_version(name), index=url) for name, url in settings.torch_indexes.items() if name != CPU]
    if not settings.torch_index:
        return [*own, TorchBuild(cuda=pinned, index="")]
    cuda = cuda_of_index(settings.torch_index)
    if cuda == CPU and own:
        return own
    return [*own, TorchBuild(cuda=None if cuda == CPU else cuda, index=settings.torch_index)]


def newest_for(driver: str, builds: Sequence[TorchBuild]) -> TorchBuild | None:
    """The newest of `builds` that `driver` runs; the first of equal ones, None if it runs none."""
    fitting = [build for build in builds if build.cuda not in {None, CPU} and driver_runs(driver, str(build.cuda))]
    return max(fitting, key=lambda build: numbers_of(str(build.cuda)), default=None)


def cuda_of_index(url: str) -> str | None:
    """`12.6` for an index whose address ends as PyTorch's do (…/cu126), `cpu` for …/cpu; None for any other."""
    found = re.search(r"/(cpu|cu\d{3})/?$", url)
    return None if found is None else CPU if found[1] == CPU else _version(found[1])


def _named(builds: Sequence[TorchBuild], label: str) -> TorchBuild:
    for build in builds:
        if build.label == label:
            return build
    known = ", ".join(str(build.label) for build in builds if build.label) or "none"
    raise UsageError(
        f"no package index is known for the build of torch in CAPILLARY_TORCH (known builds: {known})",
        value=label,
        remedy=f"set CAPILLARY_TORCH_INDEX_{label.upper()} to a package index that has it, or CAPILLARY_TORCH=auto",
    )


def _version(label: str) -> str:
    """`12.6` of `cu126`."""
    digits = label.removeprefix("cu")
    return f"{digits[:-1]}.{digits[-1]}"
