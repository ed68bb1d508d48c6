"""All that the doctor looks at, as one report. Readings are preflight's where it has them; preflight stays the gate."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from capillary.doctor.proxy import check_proxy
from capillary.doctor.remote import check_remote
from capillary.doctor.token import check_token
from capillary.doctor.weights import check_weights
from capillary.dvc.config import read_config
from capillary.lifetimes.bounded import LIMIT_S, SilenceError, bounded
from capillary.preflight.docker import check_docker, reach_daemon
from capillary.preflight.run import read_preflight
from capillary.settings import Settings
from stages.common.errors import CapillaryError
from stages.common.preflight.check import Check, Report, Status, missed, passed, report_of
from stages.common.preflight.checks.clock import check_clock
from stages.common.preflight.checks.disk import REMEDY, check_disk
from stages.common.preflight.checks.embedded_store import check_address
from stages.common.preflight.checks.service import REFUSED, Answer, Kind
from stages.common.preflight.checks.services import ask_all, check_services, services_of
from stages.common.preflight.params import PreflightParams, ServiceParams
from stages.common.preflight.table import STYLES
from stages.common.program.console import console, plain, print_answer

WORDS = {Status.PASS: "ok", Status.WARN: "warning", Status.FAIL: "fault"}
REGISTRY = "registry"


def examine(root: Path, settings: Settings) -> Report:
    """Look at everything between this machine and what the project `root` talks to; some ten seconds at worst.

    Raises ParamsError for a malformed configs/preflight.yaml, whose thresholds apply here, too.
    """
    params = read_preflight(root)
    services = services_of(settings.variables, params.services)
    with ThreadPoolExecutor() as pool:
        remote = pool.submit(check_remote, root)
        docker = pool.submit(_docker, settings, params)
        asked = pool.submit(ask_all, services, settings.variables, _hurried(params))
        proxy = pool.submit(check_proxy, settings.variables, [service.url for service in services])
        answers = asked.result()
        return report_of(
            [remote.result()],
            check_weights(root),
            _registry(root, settings, answers),
            [check_token(_tracking(answers), settings.variables), check_clock(answers, params.clock)],
            proxy.result(),
            [docker.result()],
            _disks(root, params),
        )


def _hurried(params: PreflightParams) -> ServiceParams:
    """One question each: a doctor does not wait for a server that is about to start."""
    timeout_s = min(params.answers.timeout_s, LIMIT_S)
    return params.answers.model_copy(update={"timeout_s": timeout_s, "patience_s": 0.0})


def _tracking(answers: Sequence[Answer]) -> Answer | None:
    return next((answer for answer in answers if answer.service.kind is Kind.MLFLOW), None)


def _registry(root: Path, settings: Settings, answers: Sequence[Answer]) -> Iterator[Check]:
    """The tracking server or the embedded store, then the other servers. What is the token's fault is left to it."""
    for check in check_address(root, settings.variables, critical=True):
        yield dataclasses.replace(check, name=REGISTRY)
    for answer in answers:
        name = REGISTRY if answer.service.kind is Kind.MLFLOW else answer.service.check_name
        if answer.status in REFUSED or "not written to" in answer.fault:
            yield passed(name, f"{answer.service.place} answers", "answers")
        else:
            yield from (
                dataclasses.replace(check, name=name)
                for check in check_services([answer], critical=True, tracking="required")
            )


def _docker(settings: Settings, params: PreflightParams) -> Check:
    try:
        found = bounded(lambda: reach_daemon(settings))
    except SilenceError:
        remedy = "restart it, or work without it: CAPILLARY_EXECUTOR=process"
        return missed("docker", "the daemon does not answer within a few seconds", "answers", remedy, critical=True)
    return check_docker(found, settings.executor, critical=params.docker.critical)


def _disks(root: Path, params: PreflightParams) -> Iterator[Check]:
    cache = _cache_folder(root)
    floors = {"workspace": (root, params.disk.min_free_workspace_gb), "cache": (cache, params.disk.min_free_cache_gb)}
    for name, (folder, least_gb) in floors.items():
        yield check_disk(name, folder, least_gb, REMEDY, critical=True)


def _cache_folder(root: Path) -> Path:
    """As DVC's configuration says; one that cannot be read is the remote's fault."""
    try:
        named = read_config(root).get("cache", {}).get("dir")
    except CapillaryError:
        named = None
    return Path(named or root / ".dvc" / "cache")


def line(check: Check) -> str:
    """`fault remote: … – remedy: …`."""
    remedy = f" – remedy: {check.remedy}" if check.remedy else ""
    return f"{WORDS[check.status]:<7} {check.name}: {check.value}{remedy}"


def summary(report: Report) -> str:
    """`2 faults, 1 warning`."""
    faults, warnings = len(report.having(Status.FAIL)), len(report.having(Status.WARN))
    if not faults + warnings:
        return "all is well"
    return f"{faults} fault{'s' * (faults != 1)}, {warnings} warning{'s' * (warnings != 1)}"


def as_json(report: Report) -> str:
    """For machines; docs/doctor.md explains it."""
    checks = [
        {"name": check.name, "state": WORDS[check.status], "words": check.value, "remedy": check.remedy}
        for check in report.checks
    ]
    return json.dumps({"faults": len(report.having(Status.FAIL)), "checks": checks}, indent=2)


def show(report: Report) -> None:
    """In colours on a terminal."""
    for check in report.checks:
        console.print(plain(line(check), STYLES[check.status]))
    print_answer(summary(report))
