"""The first process in a stage's container, packed with what it imports into one file that any Python runs."""

import zipfile
from pathlib import Path

from capillary.lifetimes import inside
from stages.common.lifetimes import shutdown, signals

NAME = "inside.pyz"
_PACKAGES = ("stages", "stages/common", "stages/common/lifetimes")


def write_first_process(folder: Path) -> None:
    """Write inside.pyz into `folder`. Its packages have no other content, so no stage's code is run in it."""
    files = {"__main__.py": inside.__file__}
    files |= {f"{_PACKAGES[-1]}/{Path(each).name}": each for each in (shutdown.__file__, signals.__file__)}
    with zipfile.ZipFile(folder / NAME, "w") as archive:
        for package in _PACKAGES:
            archive.writestr(f"{package}/__init__.py", "")
        for name, file in files.items():
            archive.writestr(name, Path(file).read_bytes())
