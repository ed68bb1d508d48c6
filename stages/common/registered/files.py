"""One file of a registered version or of a run: alone, and not larger than it can be."""

import stat
import tempfile
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from mlflow.entities import FileInfo, Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from stages.common.errors import DataError
from stages.common.tracking.artifact_store import open_store
from stages.common.tracking.server import Server, patient_transfers, redact, settled

_PART_BYTES = 1 << 20


def fetch_file(path: str, model: str, version: str, server: Server, most_bytes: int) -> bytes:
    """The content of the file `path` of a version; alone, whatever else its folder holds.

    Raises DataError when it is not a plain file of at most `most_bytes`, as the registry lists it and as it arrives.
    Raises ServiceError where the login would go to another server.
    """

    def find() -> ArtifactRepository:
        source = server.client.get_model_version_download_uri(model, version)
        return open_store(source, server)

    where = f"{path} of {model} version {version} in the registry at {redact(server.uri)}"
    return _fetch(path, find, where, server, most_bytes)


def fetch_run_file(path: str, run: Run, server: Server, most_bytes: int) -> bytes:
    """The content of the file `path` of `run`; raises as fetch_file does."""

    def find() -> ArtifactRepository:
        return open_store(run.info.artifact_uri, server)

    return _fetch(path, find, f"{path} of the run {run.info.run_id} at {redact(server.uri)}", server, most_bytes)


def folders_of_run(run: Run, server: Server) -> set[str]:
    """The folders that `run` has among its files.

    Asked of the store of files: MLflow's own client also asks which models a run has logged, and hosted servers that do
    not know this question refuse the whole list.
    """
    with patient_transfers(), settled(server):
        files = open_store(run.info.artifact_uri, server)
        listed = server.call("list files", files.list_artifacts)
    return {file.path for file in listed if file.is_dir}


def _fetch(path: str, find: Callable[[], ArtifactRepository], where: str, server: Server, most_bytes: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder, patient_transfers(), settled(server):
        files = server.call("find a model", find)
        listed = server.call("list a model's files", lambda: files.list_artifacts(path.rpartition("/")[0]))
        _check_listed(next((file for file in listed if file.path == path), None), most_bytes, where)
        if isinstance(files, HttpArtifactRepository):
            return server.call("give a model", lambda: _streamed(files, path, where, most_bytes))
        file = Path(server.call("give a model", lambda: files.download_artifacts(path, folder)))  # type: ignore[no-untyped-call]
        if not stat.S_ISREG(file.lstat().st_mode):
            raise _unsuitable(where, "it is not a file", None)
        if file.stat().st_size > most_bytes:
            raise _unsuitable(
                where, "the file is larger than allowed", f"{file.stat().st_size:,}, at most {most_bytes:,}"
            )
        return file.read_bytes()


def _streamed(files: HttpArtifactRepository, path: str, where: str, most_bytes: int) -> bytes:
    """The file as the server sends it, and not a byte more than allowed.

    MLflow's own download writes whatever arrives to the disk, and a server may send without end what it listed as
    small.
    """
    login = get_default_host_creds(files.artifact_uri)  # type: ignore[no-untyped-call]
    content = bytearray()
    with http_request(login, f"/{path}", "GET", stream=True) as response:  # type: ignore[no-untyped-call]
        if response.status_code == HTTPStatus.NOT_FOUND:  # listed a moment ago
            raise _unsuitable(where, "there is no such file", None)
        response.raise_for_status()
        for part in response.iter_content(_PART_BYTES):
            content += part
            if len(content) > most_bytes:
                raise _unsuitable(where, "the file is larger than allowed", f"more than {most_bytes:,} bytes")
    return bytes(content)


def _check_listed(file: FileInfo | None, most_bytes: int, where: str) -> None:
    if file is None:
        raise _unsuitable(where, "there is no such file", None)
    if file.is_dir:
        raise _unsuitable(where, "it is not a file", None)
    if (file.file_size or 0) > most_bytes:
        raise _unsuitable(where, "the file is larger than allowed", f"{file.file_size:,} bytes, at most {most_bytes:,}")


def _unsuitable(where: str, why: str, value: str | None) -> DataError:
    return DataError(
        f"{where}: {why}",
        remedy="name another version, or train the model again",
        value=value,
    )
