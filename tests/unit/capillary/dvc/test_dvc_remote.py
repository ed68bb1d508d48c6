"""DVC's remote as all that two machines share: content by its hash, and a mailbox per job."""

import hashlib
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from dvc_data.hashfile.transfer import TransferResult, transfer

from capillary.dvc import content
from capillary.dvc.objects import restore
from capillary.dvc.remote import Remote, patiently
from stages.common.errors import CapillaryError, DataError, ServiceError

CONFIG = "[core]\n    no_scm = true\n    remote = lab\n['remote \"lab\"']\n    url = {url}\n"


def machine(folder: Path, url: Path, more: str = "") -> Remote:
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc/config").write_text(CONFIG.format(url=url) + more)
    return Remote(folder)


@pytest.fixture
def one(tmp_path: Path) -> Remote:
    return machine(tmp_path / "one", tmp_path / "lab")


@pytest.fixture
def other(tmp_path: Path) -> Remote:
    return machine(tmp_path / "other", tmp_path / "lab")


def test_content_goes_from_one_machine_to_another(one: Remote, other: Remote, tmp_path: Path) -> None:
    """Folders with all that is in them, also where a list is there already and its files are not."""
    for name in ("a", "deep/b"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(name)
    digest = one.add(tmp_path / "out")
    assert digest.endswith(".dir")
    assert one.has(digest)
    assert not other.has(digest)
    one.push([digest])
    other.pull([digest])
    restore(other.cache, digest, tmp_path / "copy")
    assert {file.name: file.read_text() for file in (tmp_path / "copy").rglob("*") if file.is_file()} == {
        "a": "a",
        "b": "deep/b",
    }
    for file in (file for file in (tmp_path / "lab").rglob("*") if file.is_file() and file.suffix != ".dir"):
        file.unlink()
    one.push([digest])
    third = machine(tmp_path / "third", tmp_path / "lab")
    third.pull([digest])
    restore(third.cache, digest, tmp_path / "again")


def test_what_neither_has_is_named(one: Remote) -> None:
    """By its hash."""
    with pytest.raises(DataError, match="do not have all that a job needs") as caught:
        one.pull(["0" * 32])
    assert caught.value.value == "0" * 32
    one.pull([])


def test_content_is_asked_for_by_its_hash_alone(one: Remote, tmp_path: Path) -> None:
    """By name, or by a list that is in the remote: `../x` as a hash would be a file outside the cache."""
    content = json.dumps([{"md5": "../../../../stray", "relpath": "a"}]).encode()
    digest = hashlib.md5(content).hexdigest()
    kept = tmp_path / "lab/files/md5" / digest[:2] / f"{digest[2:]}.dir"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    for invented in ("../../../../stray", f"{digest}.dir"):
        with pytest.raises(DataError, match="something other than an MD5") as caught:
            one.pull([invented])
        assert caught.value.value == "../../../../stray"


def test_no_more_of_a_file_is_read_than_a_job_writes(one: Remote) -> None:
    """Whoever can write to the remote would fill the head's memory."""
    one.write("toy-1", "log-1", b"0123456789")
    assert one.read("toy-1", "log-1", 4) == b"0123"


def test_a_mailbox(one: Remote, other: Remote) -> None:
    """What one writes the other reads; of a job that is submitted again the checkpoints stay."""
    assert other.read("toy-1", "log-1") is None
    one.write("toy-1", "log-1", b"first")
    one.write("toy-1", "log-1", b"first and second")
    one.write("toy-1", "attempts/1.json", b"{}")
    one.write("toy-1", "state.tar.gz", b"state")
    assert other.read("toy-1", "log-1") == b"first and second"
    other.forget("toy-1", keep="state.tar.gz")
    assert [one.read("toy-1", name) for name in ("log-1", "attempts/1.json", "state.tar.gz")] == [None, None, b"state"]
    other.forget("toy-1")
    other.forget("toy-1")
    assert one.read("toy-1", "state.tar.gz") is None


def test_what_goes_along_is_what_git_tracks(tmp_path: Path) -> None:
    """A batch script is kept by Slurm; a login is in .dvc/config.local, or goes by name, in variables."""
    machine(tmp_path / "p", Path("../../lab"))
    (tmp_path / "p/.dvc/config.local").write_text("['remote \"lab\"']\n    url = /a/login\n    verify = true\n")
    assert Remote(tmp_path / "p").config() == {"url": str(tmp_path / "lab")}


def test_a_remote_that_only_this_machine_knows(tmp_path: Path) -> None:
    """Or none at all: refused before anything is submitted, with what to do."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    with pytest.raises(CapillaryError, match="nodes without a shared disk need DVC's remote"):
        Remote(tmp_path)
    (tmp_path / ".dvc/config.local").write_text(CONFIG.format(url="/lab"))
    with pytest.raises(CapillaryError, match=r"the remote lab is not in \.dvc/config"):
        Remote(tmp_path).config()


def test_a_remote_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """For minutes; then the command ends, and the job can be found again."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    answers = iter([OSError("away"), OSError("away")])

    def act() -> str:
        for error in answers:
            raise error
        return "here"

    assert patiently(act) == "here"
    assert waits == [2.0, 5.0]

    def never() -> None:
        raise OSError("away")

    with pytest.raises(ServiceError, match="DVC's remote does not answer"):
        patiently(never)
    assert sum(waits) > 300


class OwnError(Exception):
    """As botocore and Azure raise for a server that does not answer."""


@pytest.mark.parametrize(
    "ask",
    [
        lambda remote, _: remote.read("box", "log"),
        lambda remote, _: remote.write("box", "log", b""),
        lambda remote, _: remote.forget("box"),
        lambda remote, digest: remote.push([digest]),
        lambda remote, _: remote.pull(["0" * 32]),
    ],
)
def test_silence_is_an_os_error_whatever_the_remote(
    one: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Remote, str], object]
) -> None:
    """Else a head or a node would end with a traceback where it is to wait."""
    (tmp_path / "a").write_text("a")
    digest = one.add(tmp_path / "a")

    def away(*_: Any, **__: Any) -> Any:
        raise OwnError("could not connect")

    class Away:
        def __getattr__(self, _name: str) -> Any:
            return away

    monkeypatch.setattr(one, "_fs", Away())
    monkeypatch.setattr(content, "transfer", away)
    with pytest.raises(OSError, match="OwnError: could not connect"):
        ask(one, digest)


def test_content_that_was_lost_on_its_way_is_sent_again(
    one: Remote, other: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC says only that it failed, not that the remote was away in the middle."""
    (tmp_path / "a").write_text("a")
    digest = one.add(tmp_path / "a")
    real, tried = transfer, list[Collection[Any]]()

    def fail_once(source: Any, target: Any, digests: Collection[Any], **options: Any) -> TransferResult:
        tried.append(digests)
        return TransferResult(set(), set(digests)) if len(tried) == 1 else real(source, target, digests, **options)

    monkeypatch.setattr(content, "transfer", fail_once)
    one.push([digest])
    other.pull([digest])
    assert other.has(digest)


def test_the_login_in_a_remote_s_url_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As requests has it in its errors: neither while it is asked again nor at the end."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)

    def refuse() -> None:
        raise OSError("401 Client Error: Unauthorized for url: https://me:pw@host/lab")

    with pytest.raises(ServiceError) as caught:
        patiently(refuse)
    shown = capsys.readouterr().out + caught.value.report()
    assert "url: https://host/lab" in shown
    assert "pw" not in shown
