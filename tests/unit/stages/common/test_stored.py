"""Records on the disk: those of an earlier form are read, those of a newer one are refused as such."""

from pathlib import Path

import pytest

from capillary.compute.circumstances import read_note
from capillary.experiments.record import Record
from capillary.places.outcome import Attempt, Ended, read_ended
from capillary.places.slurm.submitted import ArrayTask, Submitted, read_submitted
from stages.common.errors import DamagedError, DataError
from stages.common.stored import Stored, stored_from

RECORDS = [
    Record(name="v", overrides="0", finished=True),
    Attempt(node="n1", started=1.0),
    Ended(code=0, node="n1", started=1.0, ended=2.0),
    ArrayTask(name="a", task=0),
    Submitted(number=7, at=1.0, order="0"),
]
BY_KIND = pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)


@BY_KIND
def test_a_record_without_a_version_is_of_the_first(record: Stored) -> None:
    """As they were written before they had one."""
    former = record.model_dump_json(exclude={"version"}).encode()
    assert stored_from(type(record), former, "it", file="f", remedy="r") == record
    assert record.version == 1


@BY_KIND
def test_a_record_of_a_newer_version_is_refused_as_such(record: Stored) -> None:
    """With keys that this version does not know; nobody is told that it is damaged, and the file stays."""
    newer = record.model_dump_json().replace('"version":1', '"version":2,"colour":"red"').encode()
    with pytest.raises(DataError, match=r"^the note was written by a newer capillary$") as caught:
        stored_from(type(record), newer, "the note", file="f", remedy="remove it")
    assert not isinstance(caught.value, DamagedError)
    assert (caught.value.file, caught.value.value) == ("f", "version 2")
    assert caught.value.remedy == "use the capillary that wrote it, or a newer one; or remove it"


@BY_KIND
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"version": "2"}', b'{"version": true}', b"\xff"])
def test_anything_else_is_damaged(record: Stored, content: bytes) -> None:
    """Half a file, another form, another encoding."""
    with pytest.raises(DamagedError, match=r"^the note cannot be read$") as caught:
        stored_from(type(record), content, "the note", file="f", remedy="remove it")
    assert (caught.value.file, caught.value.remedy) == ("f", "remove it")


def test_a_job_of_a_newer_version_is_not_submitted_twice(tmp_path: Path) -> None:
    """Its number may be that of a job that runs."""
    (tmp_path / "jobid").write_text('{"version": 2, "number": 7, "at": 1.0, "order": "0", "cluster": "b"}')
    with pytest.raises(DataError, match="the file with a job's number was written by a newer capillary"):
        read_submitted(tmp_path)
    (tmp_path / "ended.json").write_text('{"version": 2, "why": "done"}')
    with pytest.raises(DataError, match="by a newer capillary"):
        read_ended(tmp_path)


def test_circumstances_of_a_newer_form_are_unknown() -> None:
    """They only explain a difference, so nothing is refused."""
    note = b'{"environment": [], "packages": {}, "cpu": "c", "device": "cpu", "threads": 1, "processes": 1, "more": 2}'
    assert read_note(note) is not None
    assert read_note(note.replace(b"{", b'{"version": 2, ', 1)) is None
