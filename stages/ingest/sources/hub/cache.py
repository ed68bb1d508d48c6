"""What was downloaded of a data set, kept between runs: lists of files by commit, contents by their hash.

<downloads>/<server>/<owner>--<name>/
    lists/<commit>-<folder's hash>.json
    files/<hash>          whole: it gets this name after its size and hash were checked
    files/<hash>.part     what a broken download left; the next one asks for the rest
    lock                  held while files are downloaded
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from stages.common.atomic import atomic_write
from stages.common.dataset.hub import HubAddress
from stages.common.errors import DataError
from stages.common.lifetimes.locks import locked
from stages.common.program.messages import get_logger
from stages.common.text import counted
from stages.ingest.sources.archives.limits import refuse_full_disk
from stages.ingest.sources.hub.client import HubClient
from stages.ingest.sources.hub.files import HubFile, as_entries, take_entries

log = get_logger(__name__)

_MOST_ANEW = 2  # downloads of one file whose content is not what the Hub lists


@dataclass(frozen=True, kw_only=True)
class HubCache:
    """The cached part of one data set at `commit`."""

    client: HubClient
    commit: str
    folder: Path

    @property
    def _address(self) -> HubAddress:
        return self.client.address

    def files(self) -> dict[str, HubFile]:
        """The files of the address by their paths in it; asked of the Hub once for a commit.

        Raises DataError, ServiceError.
        """
        shown = self._address.at(self.commit)
        name = hashlib.sha256(self._address.folder.encode()).hexdigest()[:16]
        kept = self.folder / "lists" / f"{self.commit}-{name}.json"
        # one that is damaged is asked for again
        with contextlib.suppress(OSError, ValueError, DataError):
            return take_entries(json.loads(kept.read_bytes()), self._address.folder, shown)
        found = take_entries(self.client.entries(self.commit), self._address.folder, shown)
        with atomic_write(kept) as stream:
            stream.write(json.dumps(as_entries(found.values())).encode())
        return found

    def place_of(self, file: HubFile) -> Path:
        """Where the content of `file` is, or will be."""
        return self.folder / "files" / file.digest

    def bring(self, files: Iterable[HubFile]) -> None:
        """Download those of `files` that are not here. Raises DataError, ServiceError, and CapillaryError for a full
        disk.
        """
        if not self._missing(files := list(files)):
            return
        (self.folder / "files").mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock", or_go_on=True):
            for _ in range(_MOST_ANEW):
                self._download(self._missing(files))
        if wrong := self._missing(files):
            raise DataError(
                f"{wrong[0].path} does not have the size and the hash that the Hub lists",
                remedy="repeat; if it fails again, a proxy or the server changes files",
                file=f"{self._address.at(self.commit)}",
                value=f"{wrong[0].size:,} bytes, {wrong[0].digest} expected",
            )

    def copy(self, file: HubFile, target: Path) -> None:
        """Copy the content of `file` to `target`, a file to be made. One that was damaged on this disk comes anew."""
        self.bring([file])
        shutil.copyfile(self.place_of(file), target)
        if not file.is_whole(target):
            self.place_of(file).unlink()
            self.bring([file])
            shutil.copyfile(self.place_of(file), target)

    def _missing(self, files: Iterable[HubFile]) -> list[HubFile]:
        """Those that are not here, each content once."""
        absent = {file.digest: file for file in files if not self._is_here(file)}
        return list(absent.values())

    def _is_here(self, file: HubFile) -> bool:
        place = self.place_of(file)
        return place.is_file() and place.stat().st_size == file.size

    def _download(self, files: list[HubFile]) -> None:
        if not files:
            return
        needed = sum(file.size for file in files)
        refuse_full_disk(needed, self.folder, self._address.text, "the data set")
        log.info(f"downloading {counted(len(files), 'file')} ({needed:,} bytes) of {self._address.at(self.commit)}")
        by_part = {place.with_name(f"{place.name}.part"): file for file in files for place in [self.place_of(file)]}
        self.client.download(
            ((file.path, file.size, part) for part, file in by_part.items()),
            self.commit,
            lambda part: self._keep(by_part[part], part),
        )

    def _keep(self, file: HubFile, part: Path) -> None:
        """Give a whole download its name; anything else is removed, and missing afterwards."""
        if file.is_whole(part):
            part.replace(self.place_of(file))
        else:
            part.unlink()


def cache_folder(downloads: Path, endpoint: str, address: HubAddress) -> Path:
    """The folder of a data set's cache."""
    server = quote(urlsplit(endpoint).netloc.rpartition("@")[2], safe="")
    return downloads / server / address.repo.replace("/", "--")
