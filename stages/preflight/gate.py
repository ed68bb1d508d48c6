"""The checks of the gate: whether the stage that comes next can run to its end on this machine."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.common.cell_name import stage_among
from stages.common.errors import CapillaryError, ExitCode
from stages.common.machine import gpus
from stages.common.machine.container import container_sign
from stages.common.preflight.check import Check, Report
from stages.common.preflight.checks import gpu, ram, swap
from stages.common.preflight.checks.clients import check_clients, installed, pinned
from stages.common.preflight.checks.clock import check_clock
from stages.common.preflight.checks.disk import REMEDY, check_disk, check_shared_memory
from stages.common.preflight.checks.embedded_store import check_address
from stages.common.preflight.checks.environment import check_environment
from stages.common.preflight.checks.packages import check_packages
from stages.common.preflight.checks.service import Answer
from stages.common.preflight.checks.services import ask_all, check_services, services_of, to_be_asked
from stages.common.preflight.listed import Where, make_checks
from stages.common.preflight.params import GpuParams, PreflightParams
from stages.common.runtime import NOTHING_KNOWN, GateRuntime, Need
from stages.common.tracking.address import VARIABLE


def look(params: PreflightParams, runtime: GateRuntime) -> Report:
    """All checks of this machine, as the stage `runtime.gated` will find it."""
    services = to_be_asked(services_of(runtime.variables, params.services), runtime.tracking)
    answers = ask_all(services, runtime.variables, params.answers)
    stage, need = stage_of(runtime.gated), runtime.need
    return make_checks(
        Where.GATE,
        {
            "gpu": lambda: gpu_checks(params.gpu, runtime, need),
            "memory": lambda: _memory(params, need),
            "disks": lambda: _disks(params, runtime, need),
            "packages": lambda: _packages(params, runtime, stage),
            "servers": lambda: _servers(params, runtime, answers),
            "environment": lambda: [_environment(params, runtime, stage, answers)],
            "clock": lambda: [check_clock(answers, params.clock)],
        },
    )


def stage_of(gated: str, code: Path = Path("stages")) -> str:
    """The stage that the entry `gated` runs, of those whose pins are here."""
    return stage_among((file.parent.name for file in code.glob("*/requirements.txt")), gated)


def gpu_checks(params: GpuParams, runtime: GateRuntime, need: Need = NOTHING_KNOWN) -> list[Check]:
    """None for a stage that uses no GPU."""
    if runtime.gpu == "none":
        return []
    required = runtime.gpu == "required"
    try:
        found = gpus.find_devices(runtime.variables.get("CUDA_VISIBLE_DEVICES"))
    except gpus.DriverBrokenError as error:
        return [gpu.broken(str(error), required=required)]
    cuda = runtime.torch_cuda or gpu.torch_cuda(default=params.torch_cuda)
    loaded = gpus.loaded_driver()
    return gpu.check_gpu(found, params, cuda, required=required, need=need, loaded=loaded)


def refuse(report: Report, gated: str) -> CapillaryError:
    """Why `gated` does not start."""
    names = ", ".join(check.name for check in report.checks if check.status == "fail")
    return CapillaryError(
        f"{gated} is not started: preflight failed",
        value=names,
        remedy="follow the remedies above, then repeat; configs/preflight.yaml sets the thresholds, and "
        "`capillary preflight` shows all checks",
        code=ExitCode.PREFLIGHT,
    )


def _memory(params: PreflightParams, need: Need) -> Iterator[Check]:
    yield ram.check_ram(ram.available_bytes(), params.ram, need)
    yield check_shared_memory(params.shared_memory, need=need)
    yield swap.check_swap(*swap.swap_now(), params.swap, in_container=container_sign() is not None)


def _disks(params: PreflightParams, runtime: GateRuntime, need: Need) -> Iterator[Check]:
    # a container's working folder is its own; its temporary files are in the project's folder
    here = Path(tempfile.gettempdir()) if runtime.in_container else Path.cwd()
    disk = params.disk
    least_gb, why = need.least(disk.min_free_workspace_gb, "workspace_gb")
    write = runtime.in_container  # a process may write into no working folder but what dvc.yaml declares
    yield check_disk("workspace", here, least_gb, REMEDY, critical=disk.critical, why=why, write=write)
    if runtime.store is not None:
        least_gb, why = need.least(disk.min_free_runs_gb, "runs_gb")
        yield check_disk("runs", runtime.store, least_gb, REMEDY, critical=disk.critical, why=why)


def _servers(params: PreflightParams, runtime: GateRuntime, answers: Sequence[Answer]) -> Iterator[Check]:
    critical, variables = params.answers.critical, runtime.variables
    if VARIABLE in variables:  # else a stage that talks to no server
        yield from check_address(Path.cwd(), variables, critical=critical)
    yield from check_services(answers, critical=critical, tracking=runtime.tracking)
    has = pinned(Path.cwd()) if runtime.in_container else installed
    yield from check_clients(variables, answers, has, critical=params.packages.critical)


def _environment(params: PreflightParams, runtime: GateRuntime, stage: str, answers: Sequence[Answer]) -> Check:
    variables, tracking = runtime.variables, runtime.tracking
    return check_environment(stage, variables, params.environment, answers=answers, tracking=tracking)


def _packages(params: PreflightParams, runtime: GateRuntime, stage: str) -> list[Check]:
    file = Path("stages", stage, "requirements.txt")
    if runtime.in_container or not file.is_file():
        return []  # the image of the stage is known by its pins, and holds them
    return [check_packages([file], critical=params.packages.critical)]
