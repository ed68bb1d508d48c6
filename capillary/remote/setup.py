"""`capillary remote setup`, from top to bottom: package, answers, a round trip, and only then the files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capillary.remote.asking import TOKEN, Person, Request, complete
from capillary.remote.kinds import refuse_missing_package
from capillary.remote.plans import RemotePlan, plan_remote
from capillary.remote.trial import place_of, prove
from capillary.remote.writing import PUBLIC, write_remote
from capillary.settings import read_settings
from stages.common.errors import ServiceError, UsageError
from stages.common.preflight.checks.mlflow_server import ask_mlflow
from stages.common.preflight.checks.service import REFUSED, Service
from stages.common.preflight.checks.service import Kind as ServiceKind
from stages.common.program.messages import get_logger
from stages.common.tracking.address import VARIABLE

log = get_logger(__name__)

_MLFLOW_TIMEOUT_S = 10.0


def set_up_remote(request: Request, root: Path, person: Person) -> None:
    """Set up the remote that `request` names in the project `root`, whose files change at the very end.

    Raises CapillaryError for what is missing or refused, ServiceError when the remote does not work.
    """
    if not (root / ".dvc").is_dir():
        raise UsageError("this is not a DVC repository", file=root, remedy="run it in the project's folder")
    refuse_missing_package(request.kind)
    from capillary.dvc.config import read_config  # here: DVC takes half a second

    config = read_config(root)
    variables = read_settings(root).variables
    plan = plan_remote(complete(request, variables, list(config["remote"]), person), root)
    _refuse_replacing(request, plan, config["remote"], root, person)
    try:
        _prove(plan, config, root, variables)
    except ServiceError as error:
        raise ServiceError(f"{error.what}; nothing was written", remedy=error.remedy, value=error.value) from error
    for name in write_remote(plan, root):
        log.info(f"wrote {name}")
    default = ", the default" if plan.default else ""
    log.info(f"the remote {plan.name} is set up{default}; commit {PUBLIC}, then dvc push")


def config_of(plan: RemotePlan, root: Path) -> dict[str, str]:
    """The options of `plan` as DVC reads them: a folder is absolute then."""
    options = {**plan.public, **plan.secret}
    if "://" not in options["url"]:
        options["url"] = os.path.abspath(root / ".dvc" / options["url"])  # noqa: PTH100 - follows no link, as DVC
    return options


def _target(options: Mapping[str, Any]) -> tuple[str, str]:
    return str(options["url"]), str(options.get("endpointurl", ""))


def _refuse_replacing(
    request: Request, plan: RemotePlan, remotes: Mapping[str, Any], root: Path, person: Person
) -> None:
    """A remote of that name which leads elsewhere is replaced only if somebody agrees."""
    former = remotes.get(plan.name)
    if former is None or _target(former) == _target(config_of(plan, root)):
        return
    question = f"The remote {plan.name} currently has the address {former['url']}. Replace it?"
    if request.yes or (person.is_there and person.agrees(question)):
        return
    raise UsageError(
        f"a remote {plan.name} with another address already exists",
        value=former["url"],
        remedy="give another --name, or --yes to replace it",
    )


def _prove(plan: RemotePlan, config: Mapping[str, Any], root: Path, variables: Mapping[str, str]) -> None:
    options = config_of(plan, root)
    prove(plan.name, {**config, "remote": {**config["remote"], plan.name: options}})
    log.info(f"{place_of(options)} stored a file, returned it and removed it")
    if plan.variables:
        _prove_mlflow(plan, variables)
        log.info(f"MLflow at {plan.variables[VARIABLE]} answers and accepts this login")


def _prove_mlflow(plan: RemotePlan, variables: Mapping[str, str]) -> None:
    """The questions that preflight asks: reading, writing and the registry."""
    told = {**variables, **plan.variables}
    service = Service(kind=ServiceKind.MLFLOW, url=plan.variables[VARIABLE])
    answer = ask_mlflow(service, told, _MLFLOW_TIMEOUT_S)
    if answer.fault:
        is_login = answer.status in REFUSED or not answer.remedy  # preflight's remedy is to write .env, as this does
        remedy = f"check --user and the token ({TOKEN}), or give --no-mlflow" if is_login else answer.remedy
        raise ServiceError(f"MLflow at {service.url} {answer.fault}", remedy=remedy)
