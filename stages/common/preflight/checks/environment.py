"""Variables that a stage must have: those that its source or server asks for, and those that the user listed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from stages.common.preflight.check import Check, Status, missed, passed
from stages.common.preflight.checks.service import Answer, Kind
from stages.common.preflight.params import EnvironmentParams
from stages.common.runtime import TrackingMode

VENDOR_FILE = Path("sys/class/dmi/id/sys_vendor")
# a role or profile that gives keys without the two variables
_AWS_OTHER = (
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_GOOGLE = "GOOGLE_APPLICATION_CREDENTIALS"
_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


def check_environment(
    stage: str,
    variables: Mapping[str, str],
    params: EnvironmentParams,
    *,
    source: str = "",
    answers: Sequence[Answer] = (),
    tracking: TrackingMode = "required",
    top: Path = Path("/"),
) -> Check:
    """What `stage` needs and does not get. What only a tracking server asks for is a warning, unless it is `required`.

    `variables` are those that configs/stages.yaml hands on to it, `source` is
    where it reads data from, `answers` come from the servers that it talks to.
    """
    listed = getattr(params.variables, stage, ())
    needed = [*((name, "configs/preflight.yaml lists it") for name in listed), *_by_server(answers)]
    absent = [(name, why) for name, why in needed if not variables.get(name)]
    places = [(urlsplit(source).scheme, "the source is")]
    places += [(urlsplit(answer.artifacts).scheme, "the MLflow server keeps files in") for answer in answers]
    for scheme, why in places:
        absent += _by_place(scheme, why, variables, top)
    name = f"environment of {stage}"
    if not absent:
        return passed(name, "nothing is missing", "set", critical=params.critical)
    if tracking != "required" and answers:
        without = check_environment(stage, variables, params, source=source, top=top)
        critical = params.critical and without.status is Status.FAIL
    else:
        critical = params.critical
    value = ", ".join(dict.fromkeys(f"{variable} ({why})" for variable, why in absent))
    remedy = (
        "set it in .env (see .env.example: a source's keys begin with SOURCE_, an artifact store's with ARTIFACTS_, "
        "and one such name hides the plain ones); configs/stages.yaml says which variables a stage is given"
    )
    return missed(name, f"missing: {value}", "set", remedy, critical=critical)


def _by_server(answers: Iterable[Answer]) -> Iterator[tuple[str, str]]:
    for answer in answers:
        if answer.service.kind is Kind.MLFLOW and answer.asks_for_login:
            yield from ((name, f"{answer.service.place} asks for a login") for name in _LOGIN)


def _by_place(scheme: str, why: str, variables: Mapping[str, str], top: Path) -> list[tuple[str, str]]:
    """Variables that the scheme of a source or store needs, unless they can come from elsewhere."""
    vendor = (top / VENDOR_FILE).read_text() if (top / VENDOR_FILE).is_file() else ""
    if scheme == "s3" and not (any(variables.get(name) for name in _AWS_OTHER) or "Amazon" in vendor):
        return [(name, f"{why} s3://") for name in _AWS_KEYS if not variables.get(name)]
    if scheme == "gs" and "Google" not in vendor:
        file = variables.get(_GOOGLE)
        if not file:
            return [(_GOOGLE, f"{why} gs://")]
        if not Path(file).is_file():
            return [(_GOOGLE, "the file that it names does not exist")]
    return []
