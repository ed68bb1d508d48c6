"""Pin the base image of released images, in .github/base-image, to the digest that its tag has today.

    python scripts/ci/pin_base.py

Asks the registry through `docker buildx imagetools`. Uses the standard library alone.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / ".github" / "base-image"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(image: str) -> str:
    """The digest of the index of all platforms. Raises ValueError for an answer that is none."""
    argv = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", image]
    answer = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)
    digest = str(answer.get("digest"))
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"the registry's digest of {image} is {digest!r}, which is not one")
    return digest


def pin(file: Path) -> str:
    """Write `name:tag@digest` in place of what `file` holds; returns it."""
    image = file.read_text().strip().partition("@")[0]
    pinned = f"{image}@{digest_of(image)}"
    file.write_text(pinned + "\n")
    return pinned


if __name__ == "__main__":
    print(pin(FILE))
    sys.exit(0)
