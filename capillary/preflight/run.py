"""All checks of the host side as one report."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capillary.compute.hardware import allowed
from capillary.compute.torch_builds import CPU, choose_build, pinned_cuda
from capillary.executors.container.own_container import inspect_own
from capillary.params_file import check_params, read_params_file
from capillary.places.choose import Jobs, jobs_of
from capillary.planning.access import declared_stages, is_gate, read_access, variables_for
from capillary.preflight.data import cache_folder, check_data
from capillary.preflight.docker import Daemon, check_docker, check_docker_disk, check_docker_gpus, find_daemon
from capillary.preflight.folds import check_folds, check_network
from capillary.preflight.git import check_git
from capillary.preflight.need import check_container_limits, check_images, find_need
from capillary.preflight.ports import check_ports
from capillary.preflight.services import NamedService, check_named
from capillary.preflight.source import check_source
from capillary.preflight.variables import check_variables
from capillary.settings import BASE_VARIABLES, ExecutorName, Settings
from capillary.yaml_file import read_yaml
from stages.common.errors import CapillaryError, ParamsError, ServiceError
from stages.common.machine import gpus
from stages.common.machine.container import container_sign
from stages.common.params import validate_params
from stages.common.preflight.check import Check, Report, missed, passed
from stages.common.preflight.checks import gpu, ram, swap
from stages.common.preflight.checks.clients import check_clients, installed, pinned
from stages.common.preflight.checks.clock import check_clock
from stages.common.preflight.checks.disk import REMEDY, check_disk, check_shared_memory, existing
from stages.common.preflight.checks.embedded_store import check_address
from stages.common.preflight.checks.environment import check_environment
from stages.common.preflight.checks.packages import check_packages
from stages.common.preflight.checks.service import Answer, Service
from stages.common.preflight.checks.services import ask_all, check_services, services_of, to_be_asked
from stages.common.preflight.listed import Where, make_checks
from stages.common.preflight.params import CONFIG_FILE, PreflightParams
from stages.common.preflight.table import lines, log_checks, print_table
from stages.common.program.console import console, print_answer
from stages.common.program.messages import can_draw, get_logger
from stages.common.runtime import NOTHING_KNOWN, Need
from stages.common.tracking.address import EMBEDDED, VARIABLE, StoreKind, read_address

log = get_logger(__name__)

_TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class Host:
    """What the checks share: the project, its settings and thresholds, and the daemon, where stages run on one."""

    root: Path
    settings: Settings
    params: PreflightParams
    require_gpu: bool
    daemon: Daemon | None
    need: Need = NOTHING_KNOWN
    jobs: Jobs | None = None  # trainings run on the nodes of a cluster, which are looked at in each job

    @property
    def has_images(self) -> bool:
        """Whether stages run in images, with their own packages: of a daemon, or of Apptainer, which has none."""
        return self.daemon is not None or self.settings.executor is ExecutorName.APPTAINER


def run_preflight(
    root: Path,
    settings: Settings,
    *,
    require_gpu: bool = False,
    experiment: Mapping[str, Any] | None = None,
    services: Sequence[NamedService] = (),
) -> Report:
    """Look at this machine and the project `root`; takes a few seconds.

    `require_gpu`: a missing GPU is a failure, also where the settings do not ask for one. `experiment` are the checked
    params of an experiment, whose cells run side by side; without it a run of params.yaml is looked at, cell by cell.
    `services` are those that its file names.
    Raises ParamsError for a malformed configuration file; what is wrong with the machine is told in the report.
    """
    params = read_preflight(root)
    with ThreadPoolExecutor() as pool:  # DVC and servers take their time
        data = pool.submit(check_data, root, critical=params.data.critical)
        cache = pool.submit(cache_folder, root)
        servers = _services(root, settings, params.services)
        asked = pool.submit(ask_all, servers, settings.variables, params.answers)
        named = pool.submit(lambda: list(check_named(services, settings.variables, params.answers)))
        found = find_daemon(settings)
        answers = asked.result()
        host = Host(
            root=root,
            settings=settings,
            params=params,
            require_gpu=require_gpu or settings.require_gpu or _a_stage_requires_gpu(root),
            daemon=found if isinstance(found, Daemon) else None,
            jobs=jobs_of(root, settings, _TRAIN),
        )
        params_check, run_params = _params(root, experiment)
        host = dataclasses.replace(host, need=_need(host, run_params, side_by_side=experiment is not None))
        return make_checks(
            Where.COMMAND,
            {
                "git": lambda: [check_git(root, critical=params.git.critical)],
                "params": lambda: [params_check, *check_variables(settings.variables)],
                "data": lambda: [data.result()],
                "inputs": lambda: _inputs(host, run_params),
                "docker": lambda: _docker(host, found),
                "gpu": lambda: _gpu_checks(host) if host.jobs is None else [_nodes(host, host.jobs)],
                "memory": lambda: _memory(host) if host.jobs is None else (),
                "disks": lambda: _disks(host, cache.result()),
                "ports": lambda: _ports(host),
                "packages": lambda: [_packages(host)],
                "servers": lambda: _servers(host, answers),
                "named services": named.result,
                "environment": lambda: _environment(host, answers),
                "clock": lambda: [check_clock(answers, params.clock)],
            },
        )


def _params(root: Path, experiment: Mapping[str, Any] | None) -> tuple[Check, Mapping[str, Any]]:
    """The check, and the params that a run would have; none if they are wrong."""
    if experiment is not None:
        return passed("params", "those of the experiment", "right", critical=True), experiment
    try:
        check_params(root)
    except ParamsError as error:
        return missed("params", error.what, "right", error.remedy, critical=True), {}
    return passed("params", "every key known, every value valid", "right", critical=True), read_params_file(root)


def _need(host: Host, params: Mapping[str, Any], *, side_by_side: bool) -> Need:
    used = allowed(host.daemon.gpus if host.daemon else _own_gpus(host), host.settings.gpus)
    return find_need(host.root, host.settings, params, used, host.daemon, side_by_side=side_by_side)


def _own_gpus(host: Host) -> tuple[gpus.Gpu, ...]:
    try:
        return gpus.find_devices(host.settings.variables.get("CUDA_VISIBLE_DEVICES"))
    except gpus.DriverBrokenError:
        return ()  # its own check says so


def _inputs(host: Host, params: Mapping[str, Any]) -> Iterator[Check]:
    """What the params lead to; nothing if they are wrong."""
    if not isinstance(params.get("ingest"), Mapping) or "training" not in params:
        return
    critical = host.params.data.critical
    skips = params["ingest"].get("on_invalid") == "skip"
    yield check_source(host.root, str(params["ingest"]["source"]), critical=critical, skips=skips)
    yield check_folds(host.root, params, critical=critical)
    yield from check_network(host.root, params, critical=critical)


def _docker(host: Host, found: Daemon | ServiceError | None) -> Iterator[Check]:
    yield check_docker(found, host.settings.executor, critical=host.params.docker.critical)
    if host.daemon:
        yield check_images(host.root, host.settings, host.daemon, critical=host.params.docker.critical)
        yield from check_container_limits(host.root, host.params, host.need)


def read_preflight(root: Path) -> PreflightParams:
    """configs/preflight.yaml; raises ParamsError that names an unknown key and the nearest known one."""
    return validate_params(PreflightParams, read_yaml(root / CONFIG_FILE), CONFIG_FILE)


def show(report: Report) -> None:
    """A table on a terminal, a line per check in a log."""
    if console.is_terminal:
        print_table(report, console)
        return
    for line in lines(report):
        print_answer(line)


def tell(report: Report) -> None:
    """The same as messages of a command that does more than to check."""
    if can_draw():
        print_table(report, console)
    else:
        log_checks(report, log, every=True)


def as_json(report: Report) -> str:
    """The report for machines; docs/preflight.md explains it."""
    return json.dumps(report.as_data(), indent=2)


def _gpu_checks(host: Host) -> Iterator[Check]:
    variables = host.settings.variables
    try:
        found = gpus.find_devices(None if host.daemon else variables.get("CUDA_VISIBLE_DEVICES"))
    except gpus.DriverBrokenError as error:
        yield gpu.broken(str(error), required=host.require_gpu)
        return
    # a launcher in a container without a GPU sees none, while the stages' containers get theirs
    given = host.daemon.gpus if host.daemon else ()
    cuda = _torch_cuda(host, given or found)
    if found or not given:
        yield from gpu.check_gpu(
            found,
            host.params.gpu,
            cuda,
            required=host.require_gpu,
            need=host.need,
            loaded=gpus.loaded_driver(),
        )
    elif cuda != CPU:
        yield gpu.check_driver(given[0].driver, cuda, critical=host.params.gpu.critical)
    if host.daemon:
        yield check_docker_gpus(host.daemon, found, host.settings.executor, required=host.require_gpu)


def _torch_cuda(host: Host, found: Sequence[gpus.Gpu]) -> str:
    """The CUDA of the torch that stages will have: that of the image for these GPUs' driver, or of the one here."""
    default = host.params.gpu.torch_cuda
    if not host.has_images:
        return gpu.torch_cuda(default)
    driver = found[0].driver if found else None
    return choose_build(host.settings.images, pinned_cuda(host.root), driver).cuda or default


def _nodes(host: Host, jobs: Jobs) -> Check:
    """What the head can say of the nodes: whether jobs ask for the GPU that must be there."""
    if host.require_gpu and not jobs.hardware.gpus:
        remedy = f"set gpus in the profile of {_TRAIN} in configs/slurm.yaml, or drop the requirement"
        return missed("nodes", jobs.described, "a GPU", remedy, critical=True)
    return passed("nodes", f"{jobs.described}; each job checks its own node", critical=False)


def _memory(host: Host) -> Iterator[Check]:
    params = host.params
    yield ram.check_ram(ram.available_bytes(), params.ram, host.need)
    if host.daemon is None:  # a stage's container gets the size that configs/stages.yaml says
        yield check_shared_memory(params.shared_memory, need=host.need)
    yield swap.check_swap(*swap.swap_now(), params.swap, in_container=container_sign() is not None)


def _disks(host: Host, cache: Path) -> Iterator[Check]:
    """Each place against its floor, or against what the run adds to its disk, be it at that place or another's."""
    disk, need = host.params.disk, host.need
    places = {
        "workspace": (host.root, disk.min_free_workspace_gb, need.workspace_gb),
        "cache": (cache, disk.min_free_cache_gb, need.cache_gb),
        "runs": (_store_folder(host), disk.min_free_runs_gb, need.runs_gb),
    }
    state = host.root / host.settings.checkpoint_dir
    if not state.is_relative_to(host.root):
        places["checkpoints"] = (state, disk.min_free_workspace_gb, 0.0)
    on_disk = {name: existing(folder).stat().st_dev for name, (folder, _, _) in places.items()}
    for name, (folder, floor_gb, _) in places.items():
        added_gb = sum(more for other, (_, _, more) in places.items() if on_disk[other] == on_disk[name])
        why = "volumes, checkpoints and models on this disk" if added_gb > floor_gb else ""
        least_gb = max(floor_gb, added_gb)
        yield check_disk(name, folder, least_gb, REMEDY, critical=disk.critical, why=why)
    if host.daemon:
        yield from check_docker_disk(host.daemon, disk, need)


def _store_folder(host: Host) -> Path:
    """Where the embedded store lies, or would: an address that is none is its own check."""
    try:
        address = read_address(host.settings.variables.get(VARIABLE, EMBEDDED))
    except CapillaryError:
        address = read_address(EMBEDDED)
    is_embedded = address.kind is StoreKind.EMBEDDED
    return (host.root / (address.database_file if is_embedded else "mlruns/mlflow.db")).parent


def _ports(host: Host) -> Iterable[Check]:
    if host.daemon is None or inspect_own(host.daemon.api) is not None:
        return ()  # compose is not used, or the ports are another machine's, from here
    return check_ports(host.root, host.settings.variables, host.daemon.api, critical=host.params.ports.critical)


def _packages(host: Host) -> Check:
    if host.has_images:
        return passed("packages", "skipped: images hold what their stages pin")
    return check_packages(sorted(host.root.glob("stages/*/requirements.txt")), critical=host.params.packages.critical)


def _services(root: Path, settings: Settings, listed: Sequence[str]) -> list[Service]:
    """The servers that the variables of any stage lead to, and the `listed` URLs; each once."""
    handed = (variables_for(read_access(root, stage), settings) for stage in declared_stages(root))
    found = (service for variables in handed for service in services_of(variables, ()))
    every = dict.fromkeys([*found, *services_of({}, listed)])
    return to_be_asked(every, settings.tracking.value)


def _servers(host: Host, answers: Sequence[Answer]) -> Iterator[Check]:
    critical, variables = host.params.answers.critical, host.settings.variables
    yield from check_address(host.root, variables, critical=critical)
    yield from check_services(answers, critical=critical, tracking=host.settings.tracking.value)
    has = pinned(host.root) if host.has_images else installed
    yield from check_clients(variables, answers, has, critical=host.params.packages.critical)


def _environment(host: Host, answers: Sequence[Answer]) -> Iterator[Check]:
    source = str((read_params_file(host.root).get("ingest") or {}).get("source", ""))
    for stage in declared_stages(host.root):
        access = read_access(host.root, stage)
        yield check_environment(
            stage,
            {**variables_for(access, host.settings), **host.settings.select(BASE_VARIABLES)},
            host.params.environment,
            source=source if access.network == "source" else "",
            answers=answers if access.network == "tracking" else (),
            tracking=host.settings.tracking.value,
        )


def _a_stage_requires_gpu(root: Path) -> bool:
    stages = (name for name in declared_stages(root) if not is_gate(root, name))
    return any(read_access(root, stage).gpu == "required" for stage in stages)
