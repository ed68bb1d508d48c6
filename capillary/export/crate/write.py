"""A crate written whole: a folder with ro-crate-metadata.json and a copy of each result."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from capillary.export.crate.document import Document
from capillary.export.crate.facts import Facts, read_facts
from stages.common.errors import UsageError
from stages.common.program.messages import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class CrateRequest:
    """`folder` is made; `name` is the crate's; `license` is an SPDX name, empty for the project's LICENSE."""

    folder: Path
    name: str | None = None
    license: str = ""


def write_crate(request: CrateRequest, root: Path) -> None:
    """Write the crate of the project `root`. Raises CapillaryError if it cannot, and then leaves nothing."""
    if os.path.lexists(request.folder):
        raise UsageError(
            "the folder of the crate already exists",
            file=request.folder,
            remedy="name a new one, or remove it",
        )
    if request.folder.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            "a crate inside the project is taken by DVC for a second pipeline, because it holds a dvc.yaml",
            file=request.folder,
            remedy=f"name a folder outside of the project, such as ../{request.folder.name}",
        )
    facts = read_facts(root)
    request.folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{request.folder.name}.", dir=request.folder.parent))
    try:
        _write(request, root, facts, new)
        new.chmod(0o755)
        new.rename(request.folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    log.info(f"crate: {request.folder} ({len(facts.files)} results, {len(facts.stages)} stage runs)")


def _write(request: CrateRequest, root: Path, facts: Facts, folder: Path) -> None:
    try:
        from rocrate.rocrate import ROCrate  # an extra
    except ImportError as error:
        raise UsageError(
            "the package rocrate is not installed",
            remedy="./just setup crate, or: pip install -c constraints.txt rocrate",
        ) from error
    crate = ROCrate(version="1.1")
    Document(crate, root, facts).build(request.name or root.resolve().name, request.license)
    crate.write(folder)
