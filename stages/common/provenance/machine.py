"""What this system and this interpreter say of themselves."""

import functools
import platform
from importlib import metadata


def system() -> str:
    """Such as `Linux 6.1.0, x86_64`."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"


def python() -> str:
    """Such as `CPython 3.11.4`."""
    return f"{platform.python_implementation()} {platform.python_version()}"


@functools.cache
def packages() -> dict[str, str]:
    """Every installed distribution with its version, sorted. Of two with one name the first on the path counts."""
    found: dict[str, str] = {}
    for each in metadata.distributions():
        name = each.metadata["Name"]
        if name:
            found.setdefault(name.lower().replace("_", "-"), each.version)
    return dict(sorted(found.items()))
