"""The notes of a release: the section of CHANGELOG.md that its tag names, if pyproject.toml has the same version.

    python scripts/ci/release_notes.py v1.2.0 --out notes.md

Prints the version. Ends with 2 where tag, pyproject.toml and CHANGELOG.md disagree. Uses the standard library alone.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TAG = re.compile(r"v(\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?)")


class ReleaseError(Exception):
    """Why there is no release, with the remedy on a second line."""


def version_of(tag: str, pyproject: str) -> str:
    """The version that `tag` names. Raises ReleaseError if it names none, or pyproject.toml has another."""
    match = TAG.fullmatch(tag)
    if match is None:
        raise ReleaseError(f"the tag {tag!r} names no version\nremedy: tag as v1.2.3, or v1.2.3rc1")
    own: str = tomllib.loads(pyproject)["project"]["version"]
    if own != match[1]:
        raise ReleaseError(
            f"the tag {tag} is not the version {own} of pyproject.toml\n"
            f"remedy: set version = {match[1]!r} there, commit, and move the tag"
        )
    return match[1]


def section(changelog: str, version: str) -> str:
    """The text below `## version`, which may be followed by a date. Raises ReleaseError if there is none."""
    match = re.search(rf"^## {re.escape(version)}(?: [^\n]*)?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if match is None or not match[1].strip():
        raise ReleaseError(
            f"CHANGELOG.md has no section {version}, or an empty one\n"
            f"remedy: rename its section Unreleased to '## {version}', and begin a new one above it"
        )
    return match[1].strip() + "\n"


def main(arguments: list[str]) -> int:
    """0 when the notes are written."""
    parser = argparse.ArgumentParser(description="Write the notes of a release from CHANGELOG.md.")
    parser.add_argument("tag")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    try:
        version = version_of(chosen.tag, (ROOT / "pyproject.toml").read_text())
        notes = section((ROOT / "CHANGELOG.md").read_text(), version)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    chosen.out.write_text(notes)
    print(version)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
