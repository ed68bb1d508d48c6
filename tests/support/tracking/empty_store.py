"""An embedded store without anything in it. MLflow's migrations take three seconds, a copy takes none."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from stages.common.tracking.server import connect
from tests.support.tracking.tracked import embedded_runtime


def start_store(folder: Path) -> Path:
    """`folder`, which is made if need be, with the database of a new embedded store in it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_empty() / "mlflow.db", folder)
    return folder


@functools.cache
def _empty() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="capillary-empty-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    connect(embedded_runtime(folder))
    return folder
