"""What is to be trained again, as values: read from files that a registry gave, so every claim is checked."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import CapillaryError, DataError
from stages.common.program.messages import get_logger
from stages.common.provenance.record import DIFF, LOCK, PARAMS, RECORD, ProvenanceRecord, read_record
from stages.common.requests.reproduction import EVALUATION, Fetched, FetchedCell, read_fetched
from stages.common.runtime import Provenance
from stages.common.text import counted

log = get_logger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*@[A-Za-z0-9_][A-Za-z0-9_.-]*")
_EVALUATE = re.compile("evaluate")
_PREFIX = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_. -]*/)*")
_WITHOUT = "the metrics are measured with the code and params of the networks' trainings, which may differ"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One run of a stage as it was the first time: its record, and the files that its host handed over."""

    record: ProvenanceRecord
    diff: bytes
    params: bytes
    lock: bytes

    @property
    def host(self) -> Provenance:
        """The host's half of its provenance, which whoever read it has made sure of."""
        assert self.record.host is not None
        return self.record.host

    @property
    def commit(self) -> str:
        """The same."""
        assert self.host.commit is not None
        return self.host.commit


@dataclass(frozen=True, kw_only=True)
class Original(Recorded):
    """One cell as it was trained the first time."""

    cell: FetchedCell

    @property
    def key(self) -> tuple[str, ...]:
        """Cells with equal keys are trained in one worktree."""
        parts = (self.diff, self.params)
        hashes = (hashlib.sha256(part).hexdigest() for part in parts)
        return (self.commit, self.host.prefix, self.record.data_fingerprint, *hashes)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Cells that one state of the project made: its commit, changes, params and data."""

    originals: tuple[Original, ...]

    @property
    def first(self) -> Original:
        """Any of them, where they are all alike."""
        return self.originals[0]


def read_recipes(folder: Path) -> tuple[Fetched, tuple[Recipe, ...]]:
    """What the step left in `folder`. Raises CapillaryError for what cannot be trained again, and says why."""
    fetched = read_fetched(folder)
    originals = [_read_original(cell, folder / str(number)) for number, cell in enumerate(fetched.cells)]
    return fetched, group(originals)


def read_evaluation(folder: Path, label: str) -> Recorded | None:
    """How the training `label` was evaluated; None, which is said, where its run has no record that suffices.

    Raises DataError for a record that is not what capillary writes.
    """
    inner = folder / EVALUATION
    if not (inner / RECORD).is_file():
        log.warning(f"evaluate's own provenance is missing in the run of {label}: {_WITHOUT}")
        return None
    record = read_record((inner / RECORD).read_bytes(), f"the evaluation of {label}")
    files = _contents(inner)
    if lack := _lack(record, files):
        log.warning(f"{label} cannot be evaluated exactly as it was: {lack[0]}. {_WITHOUT.capitalize()}")
        return None
    _refuse_other_form(f"the evaluation of {label}", record, files, _EVALUATE)
    return Recorded(record=record, diff=files[DIFF], params=files[PARAMS], lock=files[LOCK])


def group(originals: Iterable[Original]) -> tuple[Recipe, ...]:
    """Cells of one state of the project together, in the order in which they come."""
    groups: dict[tuple[str, ...], list[Original]] = {}
    for original in originals:
        groups.setdefault(original.key, []).append(original)
    return tuple(Recipe(originals=tuple(alike)) for alike in groups.values())


def _read_original(cell: FetchedCell, folder: Path) -> Original:
    record = read_record((folder / RECORD).read_bytes(), cell.label)
    files = _contents(folder)
    refuse_unusable(cell.label, record, files)
    return Original(cell=cell, record=record, diff=files[DIFF], params=files[PARAMS], lock=files[LOCK])


def _contents(folder: Path) -> dict[str, bytes]:
    files = {name: folder / name for name in (DIFF, PARAMS, LOCK)}
    return {name: file.read_bytes() if file.is_file() else b"" for name, file in files.items()}


def refuse_unusable(label: str, record: ProvenanceRecord, files: Mapping[str, bytes]) -> None:
    """Raise CapillaryError if the record does not suffice, or is not what capillary writes."""
    if lack := _lack(record, files):
        raise _impossible(label, *lack)
    _refuse_other_form(label, record, files, _ADDRESS)


def _lack(record: ProvenanceRecord, files: Mapping[str, bytes]) -> tuple[str, str] | None:
    """Why the record does not suffice, and what to do the next time; None if it does."""
    if record.host is None or record.host.commit is None:
        return "it was made without Git, so its code is unknown", "run stages in a Git repository"
    if record.host.diff == "too large":
        return "the changes on top of its commit were too large to be kept", "commit before you train"
    if not files[PARAMS]:
        return f"its run has no {PARAMS}", "name another version"
    return None


def _refuse_other_form(
    label: str, record: ProvenanceRecord, files: Mapping[str, bytes], address: re.Pattern[str]
) -> None:
    host = record.host or Provenance()
    if not COMMIT.fullmatch(host.commit or "") or not address.fullmatch(record.stage) or not _is_prefix(host.prefix):
        value = f"{host.commit}, {record.stage}, {host.prefix}"
        raise DataError(
            f"the provenance of {label} does not have the form that capillary writes",
            remedy="name another version",
            value=value,
        )
    if host.diff_sha256 != (hashlib.sha256(files[DIFF]).hexdigest() if files[DIFF] else None):
        raise DataError(
            f"{DIFF} of {label} differs from the one named in its provenance",
            remedy="find out who changed it, or name another version",
            value=f"{len(files[DIFF]):,} bytes",
        )


def _is_prefix(prefix: str) -> bool:
    return _PREFIX.fullmatch(prefix) is not None and not {"..", ".git"} & set(prefix.lower().split("/"))


def _impossible(label: str, why: str, next_time: str) -> CapillaryError:
    return DataError(
        f"{label} cannot be trained again exactly: {why}",
        remedy=f"{next_time}; docs/reproduce.md lists what a record needs",
    )


def consent(
    fetched: Fetched,
    recipes: Sequence[Recipe],
    touched: Callable[[bytes], Sequence[str]],
    evaluation: Recorded | None = None,
) -> Iterator[str]:
    """The lines that somebody agrees to before the code of another time and place runs here.

    `touched` gives the files that a diff changes: a record may list others, or none.
    """
    yield f"{fetched.label} will be trained again, which runs code named by its registry:"
    for recipe in recipes:
        yield from _agreed(recipe.first, ", ".join(original.record.stage for original in recipe.originals), touched)
    if evaluation is not None:
        yield from _agreed(evaluation, evaluation.record.stage, touched)


def _agreed(recorded: Recorded, stages: str, touched: Callable[[bytes], Sequence[str]]) -> Iterator[str]:
    host = recorded.host
    yield f"  commit {host.commit} (recorded from {host.remote or 'a repository without a remote'})"
    yield f"    {_changes(host, recorded.diff, touched(recorded.diff) if recorded.diff else ())}; {stages}"


def _changes(host: Provenance, diff: bytes, touched: Sequence[str]) -> str:
    if not diff and host.changed_count == 0:
        return "no changes on top"
    names, count = (touched, len(touched)) if diff else (host.changed, host.changed_count)
    shown = ", ".join(names) + (", …" if count > len(names) else "")  # all of them: the eleventh may be the bad one
    note = {"masked": "; secrets in it were masked", "incomplete": "; some new files are not in it"}.get(host.diff, "")
    return f"{counted(count, 'changed file')}, a diff of {len(diff):,} bytes{note}: {shown}"
