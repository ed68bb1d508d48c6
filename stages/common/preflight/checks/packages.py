"""Python packages: what is installed against what the stages' requirements.txt pin."""

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stages.common.preflight.check import Check, missed, passed


def check_packages(requirements: Iterable[Path], *, critical: bool) -> Check:
    """Every pin of the files `requirements` is installed here, in that version."""
    pins: dict[str, str] = {}
    for file in requirements:
        pins |= read_pins(file)
    wrong = [f"{name} {have or 'missing'} (pinned {pins[name]})" for name, have in differing(pins)]
    if not wrong:
        return passed("packages", f"{len(pins)} as pinned", "as pinned", critical=critical)
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    remedy = "./just setup installs the pinned versions into .venv; activate that, not another environment"
    return missed("packages", ", ".join(wrong[:3]) + more, "as pinned", remedy, critical=critical)


def read_pins(file: Path) -> Mapping[str, str]:
    """Name → version of the lines `name==version`."""
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    pairs = (line.split("==", 1) for line in lines if "==" in line)
    return {name.split("[")[0].strip(): pinned.split(";")[0].strip() for name, pinned in pairs}


def differing(pins: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """(name, installed version or None) of the pins that are not met. `2.13.0+cpu` meets `2.13.0`."""
    found = ((name, _installed(name)) for name in pins)
    return [(name, have) for name, have in found if have is None or have.split("+")[0] != pins[name].split("+")[0]]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
