"""Give each file that repeats versions of constraints.txt the new ones, after that was written again.

    python scripts/ci/repin.py

These are the requirements.txt of stages, services, serving and samples, and the constraints.txt of samples. Only a
version changes, never which packages a file lists; one that constraints.txt lacks stays as it is in a requirements.txt.
Uses the standard library alone.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^\]]*\])?==(?P<version>[^\s;#]+)(?P<rest>.*)")
# images have this Python: of a package with one version per interpreter, theirs counts
IMAGE_PYTHON = "< '3.12'"
REQUIREMENTS = (
    "stages/*/requirements.txt",
    "services/*/requirements.txt",
    "serving/requirements.txt",
    "samples/*/stages/*/requirements.txt",
)
LOCKS = ("samples/*/constraints.txt",)


def read_pins(constraints: str) -> dict[str, str]:
    """Package → version, as an image gets it."""
    pins: dict[str, str] = {}
    for line in constraints.splitlines():
        if (match := LINE.match(line)) and ("python_full_version" not in line or IMAGE_PYTHON in line):
            pins[normal(match["name"])] = match["version"]
    return pins


def repin(requirements: str, pins: Mapping[str, str]) -> str:
    """The same lines with the versions of `pins`."""
    return "".join(repinned(line, pins) for line in requirements.splitlines(keepends=True))


def repinned(line: str, pins: Mapping[str, str]) -> str:
    """One line."""
    match = LINE.match(line)
    if match is None or normal(match["name"]) not in pins:
        return line
    return line.replace(f"=={match['version']}", f"=={pins[normal(match['name'])]}", 1)


def relock(lock: str, constraints: str) -> str:
    """The comments of `lock`, then the lines of `constraints` with the packages of `lock`, one per interpreter."""
    names = {normal(match["name"]) for line in lock.splitlines() if (match := LINE.match(line))}
    head = [line for line in lock.splitlines(keepends=True) if line.startswith("#")]
    lines = constraints.splitlines(keepends=True)
    return "".join(head + [line for line in lines if (match := LINE.match(line)) and normal(match["name"]) in names])


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def updated(root: Path) -> dict[Path, str]:
    """Each file below `root` that repeats versions → the text that it should have."""
    constraints = (root / "constraints.txt").read_text()
    pins = read_pins(constraints)
    texts = {file: repin(file.read_text(), pins) for each in REQUIREMENTS for file in root.glob(each)}
    return texts | {file: relock(file.read_text(), constraints) for each in LOCKS for file in root.glob(each)}


def main() -> int:
    """0; names the files that changed."""
    for file, text in sorted(updated(ROOT).items()):
        if text != file.read_text():
            file.write_text(text)
            print(file.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
