"""The machine that writes the report, and the versions that the project pins."""

import platform
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from stages.common.machine.cpu import cpu_model
from stages.common.machine.limits import find_limits

# what decides a result, in the order in which a reader looks for it
PACKAGES = ("torch", "monai", "numpy", "scipy", "mlflow")
PINS = ("stages/train/requirements.txt", "stages/evaluate/requirements.txt")


def machine_rows() -> Iterator[tuple[str, str]]:
    """Name and value of what is known of this machine, and what of it this process may use."""
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    if model := cpu_model():
        yield "CPU", model
    limits = find_limits()
    yield "cores", str(limits.cores)
    yield "memory", f"{limits.memory_bytes / 2**30:.1f} GiB"
    yield "Python", platform.python_version()


def version_rows(root: Path) -> Iterator[tuple[str, str]]:
    """Versions: this checkout's, DVC's as installed, those of the stages as their requirements pin them."""
    project = root / "pyproject.toml"
    if project.is_file():  # not as installed: in the dvc-runner the checkout itself is what runs
        yield "capillary", tomllib.loads(project.read_text())["project"]["version"]
    yield "DVC", metadata.version("dvc")
    files = [root / name for name in PINS if (root / name).is_file()]
    pins = dict(_pin(line) for file in files for line in file.read_text().splitlines() if "==" in line)
    yield from ((f"{package} (pinned)", pins[package]) for package in PACKAGES if package in pins)


def _pin(line: str) -> tuple[str, str]:
    name, _, version = line.partition("==")
    return name.strip(), version.strip()
