"""What the image dvc-runner was built from: the base dependencies of pyproject.toml, and a stamp over all of it.

    requirements.py list FOLDER     one requirement per line
    requirements.py stamp FOLDER    a hash by which the entrypoint sees that the image is older than the checkout

FOLDER is a checkout, or the part of it that the build sees. Standard library alone.
"""

import hashlib
import sys
import tomllib
from pathlib import Path


def base_dependencies(folder: Path) -> list[str]:
    """The base dependencies in `folder`'s pyproject.toml."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [str(line) for line in project["dependencies"]]


def stamp(folder: Path) -> str:
    """A hash of all that makes the image, but for its base."""
    files = [
        folder / "constraints.txt",
        folder / "Dockerfile.dvc-runner",
        *sorted((folder / "services/runner").glob("*.py")),
        *sorted((folder / "stages/common/lifetimes").glob("*.py")),
    ]
    digest = hashlib.sha256("\n".join(base_dependencies(folder)).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    wanted, place = sys.argv[1], Path(sys.argv[2])
    sys.stdout.write("\n".join(base_dependencies(place)) if wanted == "list" else stamp(place))
    sys.stdout.write("\n")
