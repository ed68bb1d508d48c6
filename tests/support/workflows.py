"""The workflows of .github as data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.parts import REPOSITORY

FOLDER = REPOSITORY / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))


def read(file: Path) -> dict[str, Any]:
    """A workflow. YAML takes its key `on` for the truth value."""
    found: dict[Any, Any] = yaml.safe_load(file.read_text())
    return {"on" if key is True else key: value for key, value in found.items()}


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and name, job) of every job."""
    for file in FILES:
        for name, job in read(file)["jobs"].items():
            yield f"{file.stem}.{name}", job


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """(file, job and number, step) of every step."""
    for name, job in jobs():
        for number, step in enumerate(job.get("steps", [])):
            yield f"{name}.{number}", step
