"""A spool on the disk: each record whole or absent, a full disk, and files that somebody else made."""

import json
import zlib
from pathlib import Path

import pytest

from stages.common.tracking.spool.folder import HEAD, RECORDS, SENT, Sent, Spool, read
from stages.common.tracking.spool.listing import folders_of_kind, foreign_in, last_status, spools_in
from stages.common.tracking.spool.records import PointsRecord, Record
from tests.unit.stages.common.tracking.spool.made import URI, fill, write


def kept(spool: Spool) -> list[Record | None]:
    return [record for record, _ in spool.records()]


def test_a_process_killed_at_any_byte_leaves_whole_records(tmp_path: Path) -> None:
    """What is read is what was written up to there; the next process writes on behind it."""
    writer = write(tmp_path)
    for step in range(3):
        writer.add_points({"loss": 0.5}, step, 7)
    writer.close()
    file = writer.spool.folder / RECORDS
    content = file.read_bytes()
    every = kept(writer.spool)
    for size in range(len(content)):
        file.write_bytes(content[:size])
        assert kept(writer.spool) == every[: content[:size].count(b"\n")]
        again = write(tmp_path)
        again.add_points({"loss": 0.5}, 2, 7)
        again.close()
        assert kept(again.spool)[-1] == every[-1]
        assert None not in kept(again.spool)


def test_a_full_disk_stops_nothing_and_keeps_what_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once; what waited in memory is written in its order when there is room."""
    writer = write(tmp_path)
    real = Spool.append_lines

    def full(_spool: Spool, _lines: list[bytes]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "append_lines", full)
    for step in range(3):
        writer.add_points({"loss": 0.5}, step, 7)
    with pytest.raises(OSError, match="No space left"):
        writer.add_publication("network", {"weights": b"w"})
    assert writer.unkept == 3
    assert kept(writer.spool) == []
    monkeypatch.setattr(Spool, "append_lines", real)
    writer.add_publication("network", {"weights": b"w"})
    writer.add_points({"loss": 0.5}, 3, 7)
    assert writer.unkept == 0
    steps = [record.step for record in kept(writer.spool) if isinstance(record, PointsRecord)]
    assert steps == [0, 1, 2, 3]
    assert capsys.readouterr().out.count("cannot be written") == 1


def test_an_outbox_that_cannot_be_made_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The record is in a temporary folder, and the user reads so."""
    (tmp_path / "file").touch()
    writer = write(tmp_path / "file" / "outbox")
    writer.add_points({"loss": 0.5}, 0, 7)
    assert len(kept(writer.spool)) == 1
    assert str(writer.spool.folder.parent) in capsys.readouterr().out
    writer.close()
    writer.spool.remove()
    writer.spool.folder.parent.rmdir()


def test_the_same_content_is_handed_over_once(tmp_path: Path) -> None:
    """A training that was killed at its end and repeats it; other weights are another folder."""
    for _ in range(2):
        writer = write(tmp_path)
        writer.add_publication("network", {"weights": b"w"})
        writer.close()
    assert len(list(folders_of_kind(tmp_path, "network"))) == 1
    writer = write(tmp_path)
    writer.add_publication("network", {"weights": b"other"})
    assert [(each / "weights").read_bytes() for each in folders_of_kind(tmp_path, "network")] == [b"other", b"w"]


@pytest.mark.parametrize("damage", ["checksum", "kind", "key", "type", "path", "long", "deep", "step", "time"])
def test_a_line_that_holds_what_no_record_may_does_not_count(tmp_path: Path, damage: str) -> None:
    """The lines around it do."""
    writer = write(tmp_path)
    fill(writer)
    records = kept(writer.spool)
    text = {
        "kind": b'{"kind":"pickle","values":{}}',
        "key": b'{"kind":"params","values":{},"more":1}',
        "type": b'{"kind":"points","step":"1","time_ms":1,"values":{}}',
        "path": b'{"kind":"file","name":"../../../etc/passwd","to":"x"}',
        "long": b'{"kind":"params","values":{"a":"' + b"x" * (2 << 20) + b'"}}',
        "deep": b'{"kind":"params","values":' + b"[" * 100_000 + b"}",
        "step": b'{"kind":"points","step":1000000000000000000000,"time_ms":1,"values":{}}',
        "time": b'{"kind":"status","status":"FAILED","time_ms":-1}',
        "checksum": b"{}",
    }[damage]
    line = b"00000000 {}\n" if damage == "checksum" else b"%08x %s\n" % (zlib.crc32(text), text)
    file = writer.spool.folder / RECORDS
    file.write_bytes(line + file.read_bytes())
    found = kept(writer.spool)
    assert set(map(id, found[: len(found) - len(records)])) == {id(None)}
    assert found[-len(records) :] == records


def test_links_and_foreign_files_are_not_read(tmp_path: Path) -> None:
    """A folder of another form, a link in its place or in it: passed over, and followed nowhere."""
    writer = write(tmp_path)
    writer.close()
    secret = tmp_path / "secret"
    secret.write_text("x")
    (tmp_path / "linked").symlink_to(writer.spool.folder)
    (tmp_path / "empty").mkdir()
    assert [spool.folder for spool in spools_in(tmp_path)] == [writer.spool.folder]
    for name in (RECORDS, SENT):
        (writer.spool.folder / name).unlink(missing_ok=True)
        (writer.spool.folder / name).symlink_to(secret)
    with pytest.raises(ValueError, match="plain file"):
        kept(writer.spool)
    assert writer.spool.sent(URI) == Sent()
    head = writer.spool.folder / HEAD
    head.write_text(json.dumps({**json.loads(head.read_text()), "form": 2}))
    assert read(writer.spool.folder) is None


@pytest.mark.parametrize(
    "identity",
    [
        {},
        {"capillary.stage": "train@b-0", "capillary.fingerprint": "f"},
        {"capillary.stage": "train@a-0", "capillary.fingerprint": "f", "mlflow.user": "somebody"},
        {"capillary.stage": "train@a-0", "capillary.fingerprint": "f", "capillary.loss": "a' or name != '"},
    ],
)
def test_a_head_that_claims_the_work_of_others_is_no_run(tmp_path: Path, identity: dict[str, str]) -> None:
    """By its identity a run at the server is found, continued and so changed. The folder is named, not sent."""
    spool = write(tmp_path).spool
    head = spool.folder / HEAD
    head.write_text(json.dumps({**json.loads(head.read_text()), "identity": identity}))
    assert list(spools_in(tmp_path)) == []
    assert foreign_in(tmp_path) == [spool.folder]


def test_a_folder_that_another_process_has_removed_is_no_error(tmp_path: Path) -> None:
    """Two publish at once: who comes late has nothing to lock, to note or to remove, and makes nothing again."""
    writer = write(tmp_path)
    writer.close()
    spool = writer.spool
    held = spool.lock("sender")
    assert held is not None
    assert spool.lock("sender") is None
    (tmp_path / f".{spool.folder.name}.gone").mkdir()
    (tmp_path / f".{spool.folder.name}.gone" / "left by a killed process").touch()
    spool.remove()
    spool.remove()
    assert spool.lock("writer") is None
    with pytest.raises(FileNotFoundError):
        spool.note_sent(URI, Sent())
    assert [folder.name for folder in tmp_path.iterdir() if not folder.name.startswith(".")] == []
    again = write(tmp_path)
    assert {folder.name for folder in tmp_path.iterdir()} == {again.spool.folder.name}


def test_a_lock_is_made_through_no_link(tmp_path: Path) -> None:
    """Nothing of the user's is opened for writing."""
    writer = write(tmp_path)
    (writer.spool.folder / "sender.lock").symlink_to(tmp_path / "made through a link")
    with pytest.raises(OSError, match="symbolic link"):
        writer.spool.lock("sender")
    assert not (tmp_path / "made through a link").exists()


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{", "[]", '{"http://h:1": {"run_id": 1, "offset": 0, "refused": 0}}']
)
def test_what_cannot_be_read_of_the_progress_is_sent_again(tmp_path: Path, content: str) -> None:
    """Sending twice does no harm, leaving out does; an offset behind the end is one of another file."""
    spool = write(tmp_path).spool
    (spool.folder / SENT).write_text(content)
    assert spool.sent(URI) == Sent()
    spool.note_sent(URI, Sent(run_id="r", offset=99))
    assert spool.sent(URI) == Sent()
    assert "u:p" not in (spool.folder / SENT).read_text()


def test_the_last_status_says_how_a_run_ended(tmp_path: Path) -> None:
    """One that continues after it failed is running."""
    writer = write(tmp_path)
    assert last_status(writer.spool) == "RUNNING"
    for status in ("FAILED", "RUNNING", "FINISHED"):
        writer.add_status(status)
        assert last_status(writer.spool) == status
