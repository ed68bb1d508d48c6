"""configs/stages.yaml: what a stage may touch beyond what its entry in dvc.yaml declares."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, PositiveFloat, PositiveInt, field_validator

from capillary.params_file import declared_keys
from capillary.settings import Settings
from capillary.yaml_file import read_yaml
from stages.common.cell_name import stage_among
from stages.common.errors import ParamsError
from stages.common.params import Params, nearest, validate_params

ACCESS_FILE = "configs/stages.yaml"


def _memory_gb(value: object) -> float | str | None:
    """None for a share of the machine, "none" for no limit."""
    if value is None or value == "none":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise ValueError("Input should be a number greater than 0, none (no limit) or null (a share of the machine)")


class StageAccess(Params):
    """One entry of configs/stages.yaml."""

    network: Literal["none", "source", "tracking"]
    env: tuple[str, ...]
    resume: bool
    gpu: Literal["none", "auto", "required"]
    memory_gb: Annotated[float | Literal["none"] | None, PlainValidator(_memory_gb)]
    pids: PositiveInt
    shm_gb: PositiveFloat
    weights: bool = False  # it reads the networks that DVC keeps in weights/
    image: str | None = None  # the stage whose image it runs in; its own where the key is left out
    env_from: Mapping[str, str] = {}  # name in the stage → name in the environment; a trailing * in both or in neither

    @field_validator("env_from")
    @classmethod
    def _stars_in_both(cls, env_from: Mapping[str, str]) -> Mapping[str, str]:
        for name, own in env_from.items():
            if name.endswith("*") != own.endswith("*") or "*" in name[:-1] + own[:-1]:
                raise ValueError(f"`{name}: {own}` needs one * at the end of both names, or none")
        return env_from


class GateAccess(Params):
    """The entry of a gate: a stage that runs as a command of another stage's entry in dvc.yaml, before that stage.

    It has no access of its own, but that of the stage that it gates, so that it sees the machine as that one will.
    """

    gate: Literal[True]


# what a gate may touch if there is nothing that it gates: when its image is built
_NOTHING = StageAccess(network="none", env=(), resume=False, gpu="none", memory_gb=None, pids=256, shm_gb=0.0625)


# what is of use on a network alone, and what of it may hold a password
_FOR_A_NETWORK = re.compile(
    r"MLFLOW_TRACKING_(USERNAME|PASSWORD|TOKEN|AUTH|AWS_SIGV4|\w*CERT_PATH|INSECURE_TLS)|\w+_proxy", re.IGNORECASE
)


def variables_for(access: StageAccess, settings: Settings, *, with_network: bool = True) -> dict[str, str]:
    """What a stage is handed of the user's variables, by their names in the stage."""
    names = names_for(access, settings, with_network=with_network)
    return {name: settings.variables[own] for name, own in names.items()}


def names_for(access: StageAccess, settings: Settings, *, with_network: bool) -> dict[str, str]:
    """Name in the stage → the user's own name of each variable that a stage is handed. Credentials of a purpose come
    under that purpose's own names, or, where none is set, under the usual ones; never from both, which may be two
    people's keys.

    `with_network` False: the stage needs no network in this run, and so no credentials and no proxies.
    """
    handed = {name: name for name in settings.select(access.env)}
    if not with_network:
        return {name: own for name, own in handed.items() if not _FOR_A_NETWORK.fullmatch(name)}
    for name, own in access.env_from.items():
        found = settings.select([own])
        start, own_start = name.removesuffix("*"), own.removesuffix("*")
        renamed = {start + key.removeprefix(own_start): key for key in found}
        handed |= renamed or {usual: usual for usual in settings.select([name])}
    return handed


def is_gate(root: Path, stage: str) -> bool:
    """Whether configs/stages.yaml marks `stage` as a gate."""
    if not (root / ACCESS_FILE).is_file():
        return False  # whoever needs an entry says that there is none
    entry = read_yaml(root / ACCESS_FILE).get(stage)
    return isinstance(entry, dict) and "gate" in entry


def stage_of(root: Path, address: str) -> str:
    """The stage of configs/stages.yaml that an entry of dvc.yaml runs: `train` of `train@dice_ce-0`."""
    return stage_among(read_yaml(root / ACCESS_FILE) if (root / ACCESS_FILE).is_file() else {}, address)


def declared_stages(root: Path) -> list[str]:
    """The stages that the entries of dvc.yaml run, each once."""
    return list(dict.fromkeys(stage_of(root, entry) for entry in declared_keys(root)))


def read_access(root: Path, stage: str) -> StageAccess:
    """The entry of `stage`; raises ParamsError when it is missing or malformed."""
    entry = _entry(root, stage)
    if is_gate(root, stage):
        validate_params(GateAccess, entry, f"{ACCESS_FILE} [{stage}]")
        return _NOTHING
    return validate_params(StageAccess, entry, f"{ACCESS_FILE} [{stage}]")


def _entry(root: Path, stage: str) -> Any:
    entries = read_yaml(root / ACCESS_FILE)
    if stage not in entries:
        raise ParamsError(
            f"{ACCESS_FILE} has no entry `{stage}`; {nearest(stage, list(entries))}",
            remedy=f"add `{stage}` to {ACCESS_FILE}: the top of that file explains its keys",
            file=ACCESS_FILE,
        )
    return entries[stage]
