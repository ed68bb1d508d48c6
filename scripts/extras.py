"""python -m scripts.extras [EXTRA…]: install each extra into an environment of its own, and import what it brings.

By hand, because it takes minutes: `./just test-extras`. Without names, all but `gpu`, which is several GB.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from scripts.install import NOISE, ROOT

LARGE = {"gpu"}
# runs in the new environment: imports what the distributions named as arguments bring, and prints each failure
IMPORT = """
import importlib, sys
from importlib.metadata import packages_distributions
from packaging.utils import canonicalize_name
wanted, failed = set(sys.argv[1:]), 0
brought = {module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()}
for module in sorted(module for module, names in brought.items() if names & wanted and module.isidentifier()):
    try:
        importlib.import_module(module)
    except Exception as error:
        failed += 1
        print(f"  {module} of {', '.join(sorted(brought[module] & wanted))}: {type(error).__name__}: {error}")
sys.exit(failed > 0)
"""


def extras() -> dict[str, list[str]]:
    """The requirements of each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


def names_of(requirements: list[str]) -> list[str]:
    """The distributions that `requirements` name."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    return sorted(canonicalize_name(Requirement(line).name) for line in requirements)


def is_whole(requirements: list[str], folder: Path) -> bool:
    """Whether `requirements` can be installed together into `folder`, and imported; says what is wrong."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    steps = [
        [*pip, "install", *constraints, "packaging", *requirements],
        [*pip, "check"],
        [python, "-I", "-c", IMPORT, *names_of(requirements)],
    ]
    return all(succeeds(step, folder) for step in steps)


def succeeds(argv: list[str], folder: Path) -> bool:
    """Whether `argv` exits with 0 in `folder`, without this checkout on its path; shows what it says."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        argv, cwd=folder, env=variables, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    sys.stdout.writelines(line for line in done.stdout.splitlines(keepends=True) if NOISE not in line)
    return done.returncode == 0


def main(names: list[str]) -> int:
    """0 if each extra is whole, 1 if one is not, 2 for a name that is none."""
    known = extras()
    if unknown := [name for name in names if name not in known]:
        print(
            f"error: there is no extra {', '.join(unknown)}\nremedy: name some of {', '.join(known)}", file=sys.stderr
        )
        return 2
    broken = []
    for name in names or [extra for extra in known if extra not in LARGE]:
        with tempfile.TemporaryDirectory() as folder:
            is_good = is_whole(known[name], Path(folder) / name)
        print(f"{name}: {'installs and imports' if is_good else 'BROKEN, see above'}", flush=True)
        broken += [] if is_good else [name]
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
