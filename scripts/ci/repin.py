"""Give the requirements.txt of each stage and service the versions of constraints.txt, after that was written again.

    python scripts/ci/repin.py

Only a version changes, never which packages a file lists; one that constraints.txt lacks stays as it is. Uses the
standard library alone.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^\]]*\])?==(?P<version>[^\s;#]+)(?P<rest>.*)")
# images have this Python: of a package with one version per interpreter, theirs counts
IMAGE_PYTHON = "< '3.12'"


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


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """0; names the files that changed."""
    pins = read_pins((ROOT / "constraints.txt").read_text())
    for file in sorted([*ROOT.glob("stages/*/requirements.txt"), *ROOT.glob("services/*/requirements.txt")]):
        text = file.read_text()
        if (wanted := repin(text, pins)) != text:
            file.write_text(wanted)
            print(file.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
