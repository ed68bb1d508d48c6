"""Archives as sources: unpacked beside the results, then read like a folder."""

import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path

from stages.common.errors import DataError
from stages.ingest.sources.local import TABLE, LocalFolder

# no bare .tar: one that was cut between two members cannot be told from a whole one
ARCHIVE_SUFFIXES = (".zip", ".tar.gz", ".tgz")
# What zipfile and tarfile raise on damage beside their own errors. RuntimeError: an encrypted zip, or (as
# NotImplementedError) an unknown compression. OSError: a damaged gzip; with an errno it is the machine's fault.
_DAMAGE = (
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def is_archive(name: str) -> bool:
    """Whether a file called `name` is an archive that `unpack` takes."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(archive: Path, scratch: Path, *, shown: str) -> LocalFolder:
    """Unpack `archive` under `scratch`; the source is its top, or the one folder that everything in it lies in.

    Members cannot land outside: zipfile drops `..` and roots from names, and _extract refuses them.
    """
    folder = scratch / "unpacked"
    folder.mkdir()
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)  # noqa: S202 - see above
        else:
            with tarfile.open(archive) as tarred:
                _extract(tarred, folder)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(
            f"the archive {shown} cannot be unpacked: {' '.join(str(error).split())[:160]}",
            remedy="pack the folder anew without a password, or copy the whole archive again",
            file=shown,
        ) from error
    return LocalFolder(folder=_top(folder), shown=shown, owned=True)


def _extract(tarred: tarfile.TarFile, folder: Path) -> None:
    """Unpack plain members into `folder`; tarfile.TarError for one that would land outside of it."""
    if hasattr(tarfile, "data_filter"):
        tarred.extractall(folder, filter="data")
        return
    # Python 3.11.0 to 3.11.3, which Debian 12 has, know no filters
    for member in tarred.getmembers():
        if not (member.isreg() or member.isdir()):
            raise tarfile.TarError(f"{member.name} is neither a file nor a folder")
        if not (folder / member.name).resolve().is_relative_to(folder.resolve()):
            raise tarfile.TarError(f"{member.name} would be extracted outside of the folder")
    tarred.extractall(folder)  # noqa: S202 - every member was looked at


def _top(folder: Path) -> Path:
    """`folder`, or its only subfolder; macOS adds a folder of its own that does not count."""
    entries = [entry for entry in folder.iterdir() if entry.name not in ("__MACOSX", ".DS_Store")]
    if len(entries) == 1 and entries[0].is_dir() and not (folder / TABLE).exists() and entries[0].name != "raw":
        return entries[0]
    return folder
