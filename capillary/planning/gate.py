"""A gate: a stage that runs as a command of another stage's entry, before that stage, and stops it when it fails.

    train:
      cmd:
        - capillary stage preflight
        - capillary stage train …

dvc.yaml declares nothing for it: it makes nothing, so nothing can go stale. Its deps are its code and its config,
configs/<gate>.yaml; a change of either runs no stage again. It gets the access of the stage that it gates, so that it
sees the same GPU, memory, network and variables.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capillary.compute.need import estimate, run_shape
from capillary.compute.volumes import find_volumes
from capillary.params_file import read_params_file
from capillary.planning.access import StageAccess, is_gate, read_access, stage_of, variables_for
from capillary.planning.make_plan import plan_stage
from capillary.planning.plan import CODE_FOLDER, Declared, StagePlan, StageRequest
from capillary.proxies import proxy_names
from capillary.settings import Settings
from capillary.yaml_file import read_yaml
from stages.common.runtime import NOTHING_KNOWN, Compute, GateOrder, Need

TRAIN = "train"  # the stage whose need can be estimated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """What the gate `name` has in place of an entry in dvc.yaml. Satisfies plan.Declared."""

    name: str
    gated: str
    root: Path
    cache_dir: Path

    @property
    def deps(self) -> list[str]:
        """Its code with all of stages/common, its config, and what the gated stage requires."""
        code = [f"{CODE_FOLDER}/__init__.py", f"{CODE_FOLDER}/common", f"{CODE_FOLDER}/{self.name}"]
        pins = f"{CODE_FOLDER}/{stage_of(self.root, self.gated)}/requirements.txt"
        return [*code, config_of(self.name), *([pins] if (self.root / pins).is_file() else [])]

    @property
    def outs(self) -> list[str]:
        """None."""
        return []

    def params(self) -> dict[str, Any]:
        """None."""
        return {}

    def dep_hashes(self) -> dict[str, str]:
        """None are needed: nothing is recorded as made from them."""
        return {}


def gate_of(request: StageRequest, entry: Declared) -> Gate:
    """The gate that `request` asks for, in the entry that it gates."""
    assert request.gated is not None
    return Gate(name=request.stage, gated=request.gated, root=request.root, cache_dir=entry.cache_dir)


def gates_before(commands: Sequence[str], request: StageRequest) -> list[StageRequest]:
    """Requests for the gates among the `commands` of the entry of `request`, in their order."""
    words = (shlex.split(command) for command in commands)
    named = (found for found in words if found[:2] == ["capillary", "stage"] and is_gate(request.root, found[2]))
    return [
        dataclasses.replace(
            request,
            stage=name,
            address=f"{name}@{request.address}",
            argv=tuple(argv),
            gated=request.address,
        )
        for _, _, name, *argv in named
    ]


def gate_access(request: StageRequest) -> StageAccess:
    """The gated stage's access; without its resume folder, and with a network where the gate's config lists servers.

    Raises ParamsError when an entry of configs/stages.yaml is missing or malformed.
    """
    assert request.gated is not None
    read_access(request.root, request.stage)  # its own entry must be right, too
    changes: dict[str, Any] = {"resume": False}
    access = read_access(request.root, stage_of(request.root, request.gated))
    if servers_of(request):
        changes["network"] = "tracking"
    return access.model_copy(update=changes)


def plan_gate(
    request: StageRequest,
    gate: Gate,
    access: StageAccess,
    settings: Settings,
    environment_id: Sequence[str],
    compute: Compute,
) -> StagePlan:
    """As plan_stage."""
    plan = plan_stage(request, gate, access, settings, environment_id, compute)
    servers = servers_of(request)
    allowed = variables_for(access, settings) if servers else {}
    unused = compute.device == "cpu"  # the profile's choice
    part = GateOrder(
        gated=gate.gated,
        gpu="required" if settings.require_gpu else "none" if unused else access.gpu,
        tracking=plan.order.tracking,
        need=need_of_cell(request, gate.gated, compute),
    )
    return dataclasses.replace(
        plan,
        order=dataclasses.replace(plan.order, gate=part),
        environment={**{name: allowed[name] for name in proxy_names(allowed)}, **plan.environment},
        needs_network=plan.needs_network or bool(servers),
        servers=servers,
    )


def need_of_cell(request: StageRequest, gated: str, compute: Compute) -> Need:
    """What one training needs; of another stage nothing is known."""
    if stage_of(request.root, gated) != TRAIN:
        return NOTHING_KNOWN
    params = read_params_file(request.root)
    run = run_shape(params, find_volumes(request.root, params), compute)
    return NOTHING_KNOWN if run is None else estimate(run)


def servers_of(request: StageRequest) -> tuple[str, ...]:
    """The URLs below `services` in the gate's config. What else is in it, and whether it is right, the gate says."""
    file = request.root / config_of(request.stage)
    listed = read_yaml(file).get("services") if file.is_file() else None
    return tuple(url for url in listed if isinstance(url, str)) if isinstance(listed, list) else ()


def config_of(gate: str) -> str:
    """The config of a gate, by name."""
    return f"configs/{gate}.yaml"
