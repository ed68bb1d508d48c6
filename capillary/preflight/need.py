"""What the run of this project needs, from its params, volumes and the machine's profile; and checks of containers."""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from capillary.compute.computing import find_slots, resolve
from capillary.compute.hardware import Hardware
from capillary.compute.need import estimate, run_shape
from capillary.compute.profiles import choose_profile, read_table
from capillary.compute.volumes import find_volumes
from capillary.executors.container.execute import ContainerExecutor
from capillary.executors.container.images import Environment, is_built
from capillary.places.choose import choose_place
from capillary.planning.access import ACCESS_FILE, declared_stages, is_gate, read_access, stage_of
from capillary.preflight.docker import Daemon
from capillary.settings import ExecutorName, Settings
from capillary.yaml_file import read_yaml
from stages.common.errors import CapillaryError
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import find_limits
from stages.common.preflight.check import Check, at_least, missed, passed
from stages.common.preflight.params import PreflightParams
from stages.common.runtime import NOTHING_KNOWN, Need

GIB_GB = 1.073741824
# an image with torch for the CPU, unpacked (docs/images.md); CUDA's libraries come on top
_IMAGE_GB = {"ingest": 0.7, "preprocess": 0.9, "preflight": 0.5, "train": 1.8, "evaluate": 1.9}
_OTHER_IMAGE_GB = 1.0
_CUDA_GB = 6.0
_TRAIN = "train"


def find_need(
    root: Path,
    settings: Settings,
    params: Mapping[str, Any],
    gpus: tuple[Gpu, ...],
    daemon: Daemon | None,
    *,
    side_by_side: bool,
) -> Need:
    """The need of a run: one cell at a time, as `dvc repro` runs them, or as many `side_by_side` as an experiment.

    Nothing is known of a project that has no training. `params` must have been checked.
    """
    hardware = Hardware(gpus=gpus, limits=find_limits())
    choice = choose_profile(hardware, settings.profile, read_table(root))
    compute = resolve(choice, hardware, settings)
    if not choice.gpus:
        compute = dataclasses.replace(compute, device="cpu")
    run = run_shape(params, find_volumes(root, params), compute)
    if run is None:
        return NOTHING_KNOWN
    slots = find_slots(choice, hardware, settings)
    at_once = max(1, min(slots, run.cells)) if side_by_side else 1
    image_gb = _image_gb(root, settings, daemon) if daemon else 0.0
    return estimate(dataclasses.replace(run, cells_at_once=at_once, image_gb=image_gb))


def _image_gb(root: Path, settings: Settings, daemon: Daemon) -> float:
    try:
        return unbuilt_gb(root, settings, daemon)
    except CapillaryError:
        return 0.0  # check_images says what is wrong


def unbuilt_gb(root: Path, settings: Settings, daemon: Daemon) -> float:
    """The size of the images that the daemon lacks."""
    missing = [build for build in _builds(root, settings) if not is_built(daemon.api, build.tag)]
    cuda_gb = sum(_CUDA_GB for build in missing if build.build_args.get("TORCH") == "cuda")
    return cuda_gb + sum(_IMAGE_GB.get(build.stage, _OTHER_IMAGE_GB) for build in missing)


def check_images(root: Path, settings: Settings, daemon: Daemon, *, critical: bool) -> Check:
    """What is needed to build the images that the daemon lacks: their files, and the docker command."""
    wanted = "there, or can be built"
    try:
        missing = [build.stage for build in _builds(root, settings) if not is_built(daemon.api, build.tag)]
    except CapillaryError as error:
        return missed("images", error.what, wanted, error.remedy, critical=critical)
    program = "podman" if settings.executor is ExecutorName.PODMAN else "docker"
    if missing and shutil.which(program) is None:
        package = "Docker's command line with buildx" if program == "docker" else program
        remedy = f"install {package}, or set CAPILLARY_EXECUTOR=process"
        value = f"to be built: {', '.join(missing)}; there is no {program} command"
        return missed("images", value, wanted, remedy, critical=critical)
    value = f"to be built, which takes minutes: {', '.join(missing)}" if missing else "all there"
    return passed("images", value, wanted, critical=critical)


def _builds(root: Path, settings: Settings) -> list[Environment]:
    """The environment of each stage and gate of this machine; stages that share an image give it once."""
    executor = ContainerExecutor(settings)
    builds = (executor.environment(root, stage, read_access(root, stage)) for stage in _stages(root, settings))
    return list({build.tag: build for build in builds}.values())


def check_container_limits(root: Path, params: PreflightParams, need: Need) -> Iterator[Check]:
    """What configs/stages.yaml gives the container of a training, against what it needs."""
    if need == NOTHING_KNOWN or _TRAIN not in declared_stages(root):
        return
    access = read_access(root, _TRAIN)
    shared_gb, why = need.least(params.shared_memory.min_free_gb, "shared_memory_gb")
    yield at_least(
        f"shared memory of {_TRAIN}",
        access.shm_gb * GIB_GB,
        shared_gb,
        "for its container",
        "raise shm_gb in configs/stages.yaml, or lower CAPILLARY_WORKERS",
        critical=params.shared_memory.critical,
        why=why,
    )
    if isinstance(access.memory_gb, int | float):
        ram_gb, why = need.least(params.ram.min_available_gb, "ram_gb")
        yield at_least(
            f"memory of {_TRAIN}",
            access.memory_gb * GIB_GB,
            ram_gb,
            "for its container",
            "raise memory_gb in configs/stages.yaml, or make training.batch_size or training.patch_voxels smaller",
            critical=params.ram.critical,
            why=why,
        )


def _stages(root: Path, settings: Settings) -> list[str]:
    """Those of dvc.yaml that run here, not in jobs; and the gates, each of which runs where the stage after it does."""
    here = [stage for stage in declared_stages(root) if choose_place(root, stage, settings) is None]
    gates = [name for name in read_yaml(root / ACCESS_FILE) if is_gate(root, name)]
    return list(dict.fromkeys([*here, *(gate for gate in gates if _gated_by(root, gate) & set(here))]))


def _gated_by(root: Path, gate: str) -> set[str]:
    """The stages of dvc.yaml that have `gate` among their commands."""
    entries = read_yaml(root / "dvc.yaml").get("stages") or {}
    return {stage_of(root, name) for name, entry in entries.items() if f"capillary stage {gate}" in str(entry)}
