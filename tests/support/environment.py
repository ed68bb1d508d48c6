"""A virtual environment that holds what a newcomer's `./just setup` installs, linked from the one that runs the tests.

Installing it again takes minutes and shows only that pip still does what it did when this environment was made.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

WRAPPER = "rust-just"  # what ./just itself installs


def link_environment(target: Path, *wanted: str) -> None:
    """Make `target` an environment with `wanted`, all that it requires, and nothing else; no package is copied.

    A package that is installed as editable is not taken along: its installation is the newcomer's own.
    """
    subprocess.run([sys.executable, "-m", "venv", target], check=True)
    own = Path(sys.prefix).resolve()
    for package in _closure(wanted):
        if (package.read_text("direct_url.json") or "").count('"editable": true'):
            continue
        for file in package.files or ():
            source = Path(str(package.locate_file(file))).resolve()
            if not source.is_relative_to(own) or not source.is_file():
                continue
            place = target / source.relative_to(own)
            if place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.parent.name == "bin":
                _copy_program(source, place, target)
            else:
                _link(source, place)


def _closure(wanted: tuple[str, ...]) -> Iterator[Distribution]:
    """Installed packages: those that the requirements name, and what these require in turn."""
    waiting, seen = [Requirement(text) for text in wanted], set()
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        package = distribution(requirement.name)
        yield package
        for line in package.requires or ():
            needed = Requirement(line)
            extras = ("", *requirement.extras)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)


def _copy_program(source: Path, place: Path, target: Path) -> None:
    """A program starts with the interpreter that it was installed for."""
    content = source.read_bytes()
    place.write_bytes(content.replace(os.fsencode(f"#!{sys.prefix}/"), os.fsencode(f"#!{target}/"), 1))
    shutil.copymode(source, place)


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # another disk
        shutil.copy2(source, place)
