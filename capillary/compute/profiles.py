"""Hardware profiles: named sets of choices about how to compute (configs/compute.yaml), and which suits a machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt, model_validator

from capillary.compute.hardware import GB, Hardware
from capillary.yaml_file import read_yaml
from stages.common.errors import UsageError
from stages.common.machine.gpus import Gpu
from stages.common.params import Params, nearest, validate_params

COMPUTE_FILE = "configs/compute.yaml"
AUTO = "auto"

Count = Literal["auto"] | PositiveInt
Switch = Literal["auto", "off"]


class Profile(Params):
    """How to compute. The keys are explained at the top of configs/compute.yaml."""

    device: Literal["auto", "cpu"]
    micro_batch: Count
    workers: Count
    threads: Count
    amp: Switch
    cache: Literal["memory", "map"]
    compile: Switch
    processes: PositiveInt
    slots: Count


class ChoiceRules(Params):
    """Which profile `auto` takes."""

    from_gb: dict[str, NonNegativeFloat]
    several_gpus: str
    shared_memory: str


class ProfileTable(Params):
    """configs/compute.yaml."""

    choice: ChoiceRules
    profiles: dict[str, Profile]

    @model_validator(mode="after")
    def _choice_names_profiles(self) -> "ProfileTable":
        named = [*self.choice.from_gb, self.choice.several_gpus, self.choice.shared_memory]
        if unknown := [name for name in named if name not in self.profiles]:
            raise ValueError(f"choice names `{unknown[0]}`, which is not a profile")
        if 0 not in self.choice.from_gb.values():
            raise ValueError("choice.from_gb needs a profile for 0 GB, which machines without a GPU use")
        return self


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A profile's name, its settings, the GPUs that cells are given, why, and what the user should know about it."""

    profile: str
    settings: Profile
    gpus: tuple[Gpu, ...]
    reason: str
    warnings: tuple[str, ...] = ()


def read_table(root: Path) -> ProfileTable:
    """configs/compute.yaml of the workspace `root`; ParamsError when it is missing or malformed."""
    return validate_params(ProfileTable, read_yaml(root / COMPUTE_FILE), COMPUTE_FILE)


def choose_profile(hardware: Hardware, explicit: str, table: ProfileTable) -> Choice:
    """The profile named `explicit`, whatever the machine is; under "auto" the one that suits its GPUs.

    Raises CapillaryError for an unknown name, with the nearest known one.
    """
    return _suitable(hardware, table) if explicit == AUTO else _explicit(hardware, explicit, table)


def _explicit(hardware: Hardware, name: str, table: ProfileTable) -> Choice:
    if name not in table.profiles:
        known = [AUTO, *table.profiles]
        raise UsageError(
            f"there is no profile `{name}`; {nearest(name, known)}",
            value=f"CAPILLARY_PROFILE={name}",
            remedy=f"set CAPILLARY_PROFILE (or compute.profile) to one of {', '.join(known)}",
        )
    profile = table.profiles[name]
    gpus = () if profile.device == "cpu" else hardware.gpus
    vain = profile.device != "cpu" and not gpus
    warnings = (f"profile {name} is made for a GPU, and this machine has none: the CPU computes",) if vain else ()
    return Choice(profile=name, settings=profile, gpus=gpus, reason="asked for", warnings=warnings)


def _suitable(hardware: Hardware, table: ProfileTable) -> Choice:
    """Only GPUs with memory enough for any GPU profile count: a small card next to a large one is for the screen."""
    least_gb = min(size for size in table.choice.from_gb.values() if size > 0)
    usable = tuple(gpu for gpu in hardware.gpus if gpu.memory_bytes is None or gpu.memory_bytes / GB >= least_gb)
    small = [gpu for gpu in hardware.gpus if gpu not in usable]
    if not usable:
        name, reason = _by_memory(0, table), f"no GPU of {least_gb:g} GB or more" if small else "no GPU"
    elif len(usable) > 1:
        name, reason = table.choice.several_gpus, f"{len(usable)} GPUs: {', '.join(map(_describe, usable))}"
    elif usable[0].memory_bytes is None:
        name, reason = table.choice.shared_memory, f"{usable[0].name} shares the machine's memory"
    else:
        name, reason = _by_memory(usable[0].memory_bytes / GB, table), _describe(usable[0])
    warnings = tuple(f"{_describe(gpu)} has less than {least_gb:g} GB and is not used" for gpu in small)
    return Choice(profile=name, settings=table.profiles[name], gpus=usable, reason=reason, warnings=warnings)


def _by_memory(size_gb: float, table: ProfileTable) -> str:
    reached = {name: start for name, start in table.choice.from_gb.items() if size_gb >= start}
    return max(reached, key=lambda name: reached[name])


def _describe(gpu: Gpu) -> str:
    return gpu.name if gpu.memory_bytes is None else f"{gpu.name} with {gpu.memory_bytes / GB:.1f} GB"
