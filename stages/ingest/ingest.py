"""The stage: every stack of the source into data/raw, with a verdict on each. A label may be brought into the order of
its image; all else stays as it was.
"""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.common.errors import DataError
from stages.common.imaging.labels.meaning import write_meaning
from stages.common.imaging.labels.rule import number_text
from stages.common.program.messages import get_logger
from stages.common.program.progress import progress
from stages.common.text import counted
from stages.ingest.arrival import files_to_expect
from stages.ingest.candidates import Candidate
from stages.ingest.doubts.families import doubt_of_groups
from stages.ingest.doubts.odd_spacings import odd_spacings
from stages.ingest.inspection import Inspection
from stages.ingest.layout import list_candidates
from stages.ingest.params import Ingest
from stages.ingest.sources.parquet import with_parquet
from stages.ingest.sources.source import PUBLIC_HUB, Hub, open_source
from stages.ingest.verdicts import Verdict, refuse, write_tables

log = get_logger(__name__)

_SCRATCH = ".incoming"


def ingest(params: Ingest, *, raw: Path, cache: Path | None = None, hub: Hub = PUBLIC_HUB) -> None:
    """Fill `raw` from the source; leave nothing in it on failure. Links in the source may lead into DVC's `cache`.
    `hub` is where a data set on the Hugging Face Hub is read from.

    Raises DataError naming the volumes that failed after all of them were looked at, ServiceError when a server fails.
    """
    with _whole_or_empty(raw):
        scratch = raw / _SCRATCH
        scratch.mkdir()
        source, said = with_parquet(open_source(params.source, scratch, cache, hub), scratch)
        offer = list_candidates(source, scratch)
        inspection = Inspection(
            source=source,
            raw=raw,
            label_geometry=params.label_geometry,
            meaning=params.meaning,
            named=offer.label_values,
            channel=params.channel,
            level_um=params.level_um,
        )
        candidates = offer.candidates
        stacks = (path for each in candidates if not each.reasons for path in (each.image, each.label))
        source.expect(part for path in stacks for part in files_to_expect(source, path))
        verdicts = _inspect(candidates, inspection)
        shutil.rmtree(scratch)
        notes = [*said, *offer.notes, *(f"{text} (volumes: {count})" for text, count in inspection.notes.items())]
        notes += [*odd_spacings(verdicts), *([doubt] if (doubt := doubt_of_groups(candidates)) else [])]
        absent = map(number_text, inspection.absent_values())
        notes += [f"no label has the value {value} that the settings name" for value in absent]
        for note in notes:
            log.info(f"note: {note}")
        _decide(verdicts, source.shown, skip=params.on_invalid == "skip")
        write_tables(raw, verdicts, source.shown, notes)
        write_meaning(raw, params.meaning)


@contextlib.contextmanager
def _whole_or_empty(raw: Path) -> Iterator[None]:
    """The folder of the results, emptied again when the block fails."""
    raw.mkdir(parents=True, exist_ok=True)
    if any(raw.iterdir()):
        raise DataError(
            f"{raw} holds files already, and original files are never overwritten",
            remedy="run the stage through `dvc repro ingest`, which gives it an empty folder",
            file=raw,
        )
    try:
        yield
    except BaseException:
        for entry in raw.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        raise


def _inspect(candidates: Sequence[Candidate], inspection: Inspection) -> list[Verdict]:
    verdicts = []
    with progress("ingest", len(candidates)) as steps:
        for candidate in candidates:
            verdict = inspection.inspect(candidate)
            verdicts.append(verdict)
            steps.advance(f"{verdict.id}: {verdict.text}")
    return verdicts


def _decide(verdicts: Sequence[Verdict], source: str, *, skip: bool) -> None:
    """Raise when invalid volumes, or none but those, must stop the run; else say which are left out."""
    failing = [verdict for verdict in verdicts if verdict.stack is None]
    if failing and (not skip or len(failing) == len(verdicts)):
        raise refuse(failing, len(verdicts), source, may_skip=len(failing) < len(verdicts))
    if failing:
        log.warning(f"skipped {len(failing)} of {len(verdicts)}: {', '.join(verdict.id for verdict in failing)}")
    valid = len(verdicts) - len(failing)
    log.info(f"{counted(valid, 'volume')} from {source} {'is' if valid == 1 else 'are'} valid")
