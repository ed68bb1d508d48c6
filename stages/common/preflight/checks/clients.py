"""Packages that a stage needs for the store that MLFLOW_TRACKING_URI or its server leads to, beyond what it pins."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from stages.common.preflight.check import Check, missed, passed
from stages.common.preflight.checks.packages import read_pins
from stages.common.preflight.checks.service import Answer

# scheme of a database or of a folder for files → the packages of which one is needed
_PACKAGES = {
    "postgresql": ("psycopg2-binary", "psycopg2"),
    "postgresql+psycopg2": ("psycopg2-binary", "psycopg2"),
    "postgresql+psycopg": ("psycopg",),
    "mysql": ("mysqlclient",),
    "mysql+pymysql": ("pymysql",),
    "mssql": ("pyodbc",),
    "mssql+pyodbc": ("pyodbc",),
    "s3": ("boto3",),
    "gs": ("google-cloud-storage",),
    "wasbs": ("azure-storage-blob",),
}
_SIGV4 = ("requests-auth-aws-sigv4",)
REQUIREMENTS = Path("stages/train/requirements.txt")


def check_clients(
    variables: Mapping[str, str], answers: Iterable[Answer], has: Callable[[str], bool], *, critical: bool
) -> Iterator[Check]:
    """One check for each store that asks for a package; `has` tells whether the stages have it."""
    schemes = [variables.get("MLFLOW_TRACKING_URI", "").partition("://")[0].lower()]
    schemes += [urlsplit(answer.artifacts).scheme for answer in answers if answer.artifacts]
    needs = {f"{scheme}://": _PACKAGES[scheme] for scheme in schemes if scheme in _PACKAGES}
    if variables.get("MLFLOW_TRACKING_AWS_SIGV4", "").lower() in ("true", "1"):
        needs["MLFLOW_TRACKING_AWS_SIGV4"] = _SIGV4
    for what, names in needs.items():
        name, threshold = f"package for {what}", f"{' or '.join(names)}"
        if any(has(each) for each in names):
            yield passed(name, "there", threshold, critical=critical)
            continue
        remedy = (
            f"add {names[0]}==… to requirements.txt of stages/train and stages/evaluate, and to .venv for processes"
        )
        yield missed(name, "not there", threshold, remedy, critical=critical)


def pinned(root: Path) -> Callable[[str], bool]:
    """Whether the image of train has a package."""
    file = root / REQUIREMENTS
    names = {_plain(name) for name in read_pins(file)} if file.is_file() else set()
    return lambda package: _plain(package) in names


def installed(package: str) -> bool:
    """Whether a process started here has a package."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
