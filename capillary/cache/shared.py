"""Results that anybody computed, in one of DVC's remotes: fetched before a stage would run, pushed after it ran.

<remote>/files/md5/                                 outs by their hashes, as DVC keeps them
<remote>/runs/<2>/<key>/<entry>                     DVC's run cache: one record per result
<remote>/capillary-circumstances/<key>/<entry>.json  with what it was computed, for an audit

The remote helps where it can: without it, stages run as if there were none. What is in it is not trusted.
"""

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from capillary.cache.lines import fetched, pushed
from capillary.cache.recompute import has_server, reads_registry
from capillary.cache.shared_record import MOST_BYTES, SharedResult, read_record, record_of
from capillary.compute.circumstances import MOST_NOTE_BYTES, digests_of, keep_of, note_of, read_note, recall
from capillary.dvc.claim import RunClaim
from capillary.dvc.content import RemoteContent
from capillary.dvc.graph import Entry
from capillary.dvc.objects import refuse_missing, restore
from capillary.dvc.run_cache import content_of, name_of
from capillary.executors.sandbox import own_folder
from capillary.lifetimes.bounded import bounded
from capillary.lifetimes.stop import Stop
from capillary.planning.access import read_access, stage_of
from capillary.settings import SHARED_CACHE, Settings
from capillary.weights.choice import weights_in_remote
from stages.common.atomic import atomic_write
from stages.common.errors import CapillaryError, DamagedError, DataError
from stages.common.program.messages import get_logger
from stages.common.text import visible, without_login

log = get_logger(__name__)

RUNS, CIRCUMSTANCES = "runs", "capillary-circumstances"
ANSWER_S = 30.0  # after which a remote that says nothing counts as away
MOST_ENTRIES = 20  # of one run; a training whose bits differ each time has as many as it was run
_REMEDY = "MLFLOW_TRACKING_URI, or weights_in_remote in configs/tracking.yaml"
Result = TypeVar("Result")


def open_shared(root: Path, repository: Path, entry: Entry, settings: Settings, stop: Stop) -> "SharedCache | None":
    """The shared cache for a run of `entry`; None if there is none, or no other machine could use the result."""
    if settings.shared_cache is None or (claim := entry.claim()) is None:
        return None
    if _keeps_networks_here(root, claim.address, settings):
        log.info(f"{claim.address} is not shared: its network is in mlruns/, where nobody else finds it ({_REMEDY})")
        return None
    return SharedCache(root, repository, claim, settings, stop)


def _keeps_networks_here(root: Path, address: str, settings: Settings) -> bool:
    """Whether its outs are cards of networks that only this machine has."""
    access = read_access(root, stage_of(root, address))
    leaves_network = access.network == "tracking" and not reads_registry(access)
    return leaves_network and not has_server(settings) and not weights_in_remote(root)


class SharedCache:
    """What the remote that CAPILLARY_SHARED_CACHE names has, or gets, of one run in the workspace `root`."""

    def __init__(self, root: Path, repository: Path, claim: RunClaim, settings: Settings, stop: Stop) -> None:
        self._root, self._repository, self._claim, self._stop = root, repository, claim, stop
        self._name = None if settings.shared_cache == "default" else settings.shared_cache
        self.has_warned = False

    def fetch(self) -> SharedResult | None:
        """Bring the result of this run into DVC's cache and run cache; None if there is none, or it was asked for
        again on purpose.
        """
        if not self._claim.is_wanted:
            return None
        try:
            return self._fetch()
        except InterruptedError:
            return None
        except Exception as error:  # noqa: BLE001 - each kind of remote has errors of its own, and none may cost a run
            self._tell(error, f"{self._claim.address} is computed here")
        return None

    def take(self, publish: Callable[[Path], None]) -> bool:
        """Let `publish` take the outs from a folder, if the remote has them; returns whether it did."""
        result = self.fetch()
        if result is None:
            return False
        with own_folder(self._repository, self._claim.address) as base:
            work = base / "outs"
            work.mkdir()
            if not self._restore(result, work):
                return False
            publish(work)
        log.info(fetched(self._claim.address))
        return True

    def push(self) -> None:
        """Send the outs of this run, which are in the workspace, and its record."""
        try:
            self._push()
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(error, f"the result of {self._claim.address} is not shared; later: dvc push --run-cache")

    def _fetch(self) -> SharedResult | None:
        remote, entries = self._within(ANSWER_S, self._look)
        for result in self._candidates(remote, entries):
            try:
                self._within(math.inf, functools.partial(_pull, remote, result))
            except (DataError, DamagedError) as error:
                _ignore(result.entry or "what dvc.lock names", error)
                continue
            if result.entry:
                self._note(remote, result)
            return result
        return None

    def _within(self, limit_s: float, act: Callable[[], Result]) -> Result:
        """What `act` returns or raises, unless it takes longer or this process is asked to stop (bounded.py)."""
        return bounded(act, limit_s, lambda: self._stop.asked is not None)

    def _look(self) -> tuple[RemoteContent, list[str]]:
        """The remote, and the names of its records of this run."""
        remote = RemoteContent(self._root, self._name)
        return remote, [name for name in remote.names_in(*self._folder) if name.isalnum()][:MOST_ENTRIES]

    @property
    def _folder(self) -> tuple[str, str, str]:
        return RUNS, self._claim.key[:2], self._claim.key

    def _candidates(self, remote: RemoteContent, entries: list[str]) -> Iterator[SharedResult]:
        """What dvc.lock names first, then what the remote records, in an order that all machines share."""
        recorded = self._claim.recorded
        if recorded.keys() == set(self._claim.outs):
            yield SharedResult(entry="", outs={name: {"md5": digest} for name, digest in recorded.items()})
        for entry in entries:
            content = self._read(remote, *self._folder, entry, most_bytes=MOST_BYTES)
            try:
                yield read_record(content or b"", "/".join((*self._folder, entry)), self._claim)
            except DamagedError as error:
                _ignore(str(error.file), error)

    def _read(self, remote: RemoteContent, *names: str, most_bytes: int) -> bytes | None:
        return self._within(ANSWER_S, lambda: remote.read_file(*names, most_bytes=most_bytes))

    def _note(self, remote: RemoteContent, result: SharedResult) -> None:
        """Write the record into the local run cache, where DVC finds it, and the circumstances where an audit does."""
        record = record_of(self._claim, result.outs)
        with atomic_write(remote.runs.joinpath(*self._folder, name_of(record))) as stream:
            stream.write(content_of(record))
        entry = result.entry.rpartition("/")[2]
        content = self._read(remote, CIRCUMSTANCES, self._claim.key, f"{entry}.json", most_bytes=MOST_NOTE_BYTES)
        found = None if content is None else read_note(content)
        if found is not None:
            keep_of(self._repository, self._claim.address, result.digests, found)

    def _restore(self, result: SharedResult, work: Path) -> bool:
        cache = RemoteContent(self._root, self._name).cache
        try:
            for name, digest in result.digests.items():
                restore(cache, digest, work / name)
        except (CapillaryError, OSError) as error:
            self._tell(error, f"{self._claim.address} is computed here")
            return False
        return True

    def _push(self) -> None:
        remote, entries = self._within(ANSWER_S, self._look)
        self._within(math.inf, lambda: self._send(remote, entries))
        log.info(pushed(self._claim.address, remote.name))

    def _send(self, remote: RemoteContent, entries: list[str]) -> None:
        outs = {name: remote.add_out(self._root / name) for name in self._claim.outs}
        remote.push(sorted({out["md5"] for out in outs.values()}))
        record = record_of(self._claim, outs)
        entry = name_of(record)
        if entry in entries:
            return
        digests = digests_of(self._root, self._claim.outs)
        if (found := recall(self._repository, self._claim.address, digests)) is not None:
            remote.write_file(note_of(found), CIRCUMSTANCES, self._claim.key, f"{entry}.json")
        remote.write_file(content_of(record), *self._folder, entry)  # last: it names what is there

    def _tell(self, error: Exception, consequence: str) -> None:
        """One warning per run; what follows from it is information."""
        words = visible(without_login(error.what if isinstance(error, CapillaryError) else str(error)))[:300]
        tell = log.info if self.has_warned else log.warning
        tell(f"the shared cache ({SHARED_CACHE}) is of no help ({words or type(error).__name__}): {consequence}")
        self.has_warned = True


def _pull(remote: RemoteContent, result: SharedResult) -> None:
    remote.pull(sorted(set(result.digests.values())))
    for digest in result.digests.values():
        refuse_missing(remote.cache, digest)


def _ignore(entry: str, error: CapillaryError) -> None:
    value = "" if error.value is None else f" ({visible(str(error.value))[:200]})"
    log.warning(f"not used of the shared cache: {visible(entry)}: {error.what}{value}")
