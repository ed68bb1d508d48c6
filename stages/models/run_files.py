"""Single files from a registry's or a run's artifacts, each of a size that was agreed on before."""

import stat
import tempfile
from pathlib import Path

from stages.common.errors import DataError
from stages.common.tracking.artifact_store import open_store
from stages.common.tracking.server import Server, patient_transfers, settled


def fetch_artifact(root_uri: str, path: str, most_bytes: int, server: Server) -> bytes | None:
    """The content of `path` below the artifact folder `root_uri`; None if it lists no such file.

    Raises DataError for one that is not a plain file of at most `most_bytes`, as it is listed and as it arrives;
    ServiceError where the login would go to another server.
    """
    with tempfile.TemporaryDirectory() as folder, patient_transfers(), settled(server):
        files = open_store(root_uri, server)
        listed = server.call("list artifacts", lambda: files.list_artifacts(path.rpartition("/")[0]))
        found = next((file for file in listed or () if file.path == path), None)
        if found is None:
            return None
        if found.is_dir or (found.file_size or 0) > most_bytes:
            raise _unsuitable(path, f"listed with {found.file_size or 0:,} bytes, at most {most_bytes:,} are read")
        got = server.call("give an artifact", lambda: files.download_artifacts(path, folder))  # type: ignore[no-untyped-call]
        file = Path(got)
        if not stat.S_ISREG(file.lstat().st_mode) or file.stat().st_size > most_bytes:
            raise _unsuitable(path, "what arrived is not a plain file of that size")
        return file.read_bytes()


def _unsuitable(path: str, why: str) -> DataError:
    return DataError(
        f"the artifact {path} does not have the form that capillary writes",
        remedy="find out who replaced it, or name another version",
        value=why,
    )
