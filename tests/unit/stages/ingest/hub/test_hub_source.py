"""A data set on the Hub as a source, against a small hub on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from capillary.cli import app
from stages.common.dataset.hub import HubPin, parse_address, pin_bytes
from stages.common.errors import CapillaryError, DataError, ExitCode, ServiceError
from stages.common.runtime import HubLogin
from stages.ingest.sources.archives import limits
from stages.ingest.sources.hub import client
from stages.ingest.sources.source import Hub, Source, open_source
from tests.unit.stages.ingest.hub.fake_hub import REPO, TOKEN, FakeHub, serving
from tests.unit.stages.ingest.packed import write_zip

TABLE, SMALL, LARGE = b"id,image,label\n", b"small", bytes(range(256)) * 8
FILES = {"set/dataset.csv": TABLE, "set/images/a b.tif": LARGE, "set/images/c.tif": SMALL, "README.md": b"r"}
ADDRESS = f"hf://datasets/{REPO}/set"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that is asked again at once."""
    monkeypatch.setattr(client, "PAUSES_S", (0.0, 0.0))
    with serving() as served:
        yield served


def open_at(hub: FakeHub, folder: Path, address: str = ADDRESS, token: str | None = None) -> Source:
    """The source at `address`, with a cache below `folder`."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    there = Hub(login=HubLogin(endpoint=hub.endpoint, token=token), downloads=folder / "downloads")
    return open_source(address, scratch, None, there)


def pinned(folder: Path, commit: str, address: str = ADDRESS) -> str:
    """A pin file in `folder`."""
    file = folder / "p.hub.json"
    file.write_bytes(pin_bytes(HubPin(address=parse_address(address), commit=commit)))
    return str(file)


def fetched(source: Source, path: str, folder: Path) -> bytes:
    """The content of `path`."""
    target = folder / "fetched"
    target.unlink(missing_ok=True)
    source.fetch(path, target)
    return target.read_bytes()


def test_a_data_set_is_listed_and_only_what_is_wanted_is_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    """A private one, in pages, with a broken download that is resumed. The token goes to the hub alone."""
    commit = hub.commit(FILES)
    hub.needs_token, hub.broken = True, 1
    source = open_at(hub, tmp_path, token=TOKEN)
    assert (source.shown, source.table) == (f"hf://datasets/{REPO}@{commit}/set", "dataset.csv")
    assert source.names("") == ["dataset.csv", "images"]
    assert (source.names("images"), source.names("none")) == (["a b.tif", "c.tif"], [])
    assert source.below("") == ["dataset.csv", "images/a b.tif", "images/c.tif"]
    source.expect(["images/a b.tif", "none"])
    assert fetched(source, "images/a b.tif", tmp_path) == LARGE
    assert hub.tokens == [None, None]
    assert not any("c.tif" in path or "README" in path for path in hub.asked)
    for path, text in (("images", "a folder"), ("none", "does not exist")):
        with pytest.raises(DataError, match=text):
            source.fetch(path, tmp_path / "t")


def test_a_pinned_commit_is_read_whatever_the_branch_does(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A moved branch is said; without a network the cache serves, and says what it lacks."""
    commit = hub.commit(FILES)
    pin = pinned(tmp_path, commit)
    assert fetched(open_at(hub, tmp_path, pin), "dataset.csv", tmp_path) == TABLE
    assert "still at the pinned commit" in capsys.readouterr().out
    moved = hub.commit({**FILES, "set/dataset.csv": b"other"})
    assert fetched(open_at(hub, tmp_path, pin), "dataset.csv", tmp_path) == TABLE
    said = capsys.readouterr().out
    assert f"has moved to {moved}" in said
    assert f"capillary dataset pin {parse_address(ADDRESS).text} {pin}" in said
    hub.error_code = "Broken"
    source = open_at(hub, tmp_path, pin)
    assert fetched(source, "dataset.csv", tmp_path) == TABLE
    assert "cannot be found out" in capsys.readouterr().out
    with pytest.raises(ServiceError):
        source.fetch("images/c.tif", tmp_path / "t")
    with pytest.raises(ServiceError):  # a branch is not known without the hub
        open_at(hub, tmp_path)


def test_contents_are_what_the_hub_lists(hub: FakeHub, tmp_path: Path) -> None:
    """Other bytes are not kept, by either kind of hash; a cache that was damaged on this disk is mended."""
    hub.commit(FILES)
    hub.spoiled = {"set/images/a b.tif", "set/images/c.tif"}
    source = open_at(hub, tmp_path)
    for path in ("images/a b.tif", "images/c.tif"):
        with pytest.raises(DataError, match="does not have the size and the hash"):
            source.fetch(path, tmp_path / "t")
    assert list(tmp_path.rglob("files/*")) == []
    hub.spoiled.clear()
    assert fetched(source, "images/a b.tif", tmp_path) == LARGE
    (kept,) = tmp_path.rglob("files/*")
    kept.write_bytes(bytes(len(LARGE)))
    assert fetched(source, "images/a b.tif", tmp_path) == LARGE


@pytest.mark.parametrize(
    ("code", "kind", "text", "remedy"),
    [
        ("GatedRepo", ServiceError, "accept its terms", f"/datasets/{REPO}, then set SOURCE_HF_TOKEN"),
        ("RepoNotFound", DataError, "does not exist, or it is private", "SOURCE_HF_TOKEN"),
        ("RevisionNotFound", DataError, "has no revision main", "a branch, a tag or a commit"),
        ("EntryNotFound", DataError, "no such folder", "/tree lists"),
        ("Else", ServiceError, "is refused", "SOURCE_HF_TOKEN"),
    ],
)
def test_a_refusal_says_what_to_do(
    hub: FakeHub, tmp_path: Path, code: str, kind: type[CapillaryError], text: str, remedy: str
) -> None:
    """By the hub's own codes."""
    hub.error_code = code
    with pytest.raises(kind, match=text) as refused:
        open_at(hub, tmp_path)
    assert remedy in refused.value.remedy


def test_a_hub_that_is_not_there_is_a_matter_of_the_network(tmp_path: Path) -> None:
    """The address and the variables to look at."""
    with serving() as gone:
        pass
    with pytest.raises(ServiceError, match="cannot be read from") as refused:
        client.HubClient(
            login=HubLogin(endpoint=gone.endpoint), address=parse_address(ADDRESS), is_patient=False
        ).commit_of("main")
    assert "HF_ENDPOINT" in refused.value.remedy


FILE = {"type": "file", "path": "set/x.tif", "size": 5, "oid": "0" * 40}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({**FILE, "path": "set/../../x"}, "leads out"),
        ({**FILE, "path": "/etc/passwd"}, "is absolute"),
        ({**FILE, "path": "set/a\x1b.tif"}, "control character"),
        ({**FILE, "path": "elsewhere/x.tif"}, "is not in it"),
        ({**FILE, "path": 5}, "is not in it"),
        ({**FILE, "size": -1}, "no possible size"),
        ({**FILE, "size": 1 << 60}, "no possible size"),
        ({**FILE, "oid": "../../x"}, "no hash"),
        ({**FILE, "lfs": {"size": 5, "oid": "0" * 40}}, "no hash"),
    ],
)
def test_a_list_that_lies_is_not_used(hub: FakeHub, tmp_path: Path, entry: dict[str, object], text: str) -> None:
    """Names, sizes and hashes become paths and room on the disk: they are checked before."""
    hub.commit(FILES)
    hub.extra_entries = [entry]
    with pytest.raises(DataError, match=text):
        open_at(hub, tmp_path).names("")


def test_a_list_without_end_or_of_another_server_is_not_read(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token goes with each request for a page."""
    hub.commit(FILES)
    hub.next_host = hub.store
    with pytest.raises(ServiceError, match="on another server"):
        open_at(hub, tmp_path, token=TOKEN).names("")
    assert hub.tokens == []
    hub.next_host = ""
    monkeypatch.setattr(client, "MAX_MEMBERS", 3)
    with pytest.raises(DataError, match="more than 3 files"):
        open_at(hub, tmp_path).names("")
    monkeypatch.setattr(client, "MAX_PAGE_BYTES", 10)
    with pytest.raises(ServiceError, match="more than 10 bytes"):
        open_at(hub, tmp_path)


def test_a_list_of_many_large_pages_is_not_kept(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page may be within its limit, and have few entries, of which few parts are read."""
    hub.commit(FILES)
    hub.extra_entries = [{"type": "directory", "path": f"d{number}", "note": "x" * 2000} for number in range(9)]
    found = client.HubClient(login=HubLogin(endpoint=hub.endpoint), address=parse_address(f"hf://datasets/{REPO}"))
    (commit,) = hub.commits
    assert {key for entry in found.entries(commit) for key in entry} == {"type", "path", "size", "oid", "lfs"}
    monkeypatch.setattr(client, "MAX_LIST_BYTES", 9000)
    with pytest.raises(DataError, match="more than 9,000 bytes"):
        open_at(hub, tmp_path).names("")


def test_a_disk_without_room_is_said_before_the_download(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the sizes that the hub lists."""
    hub.commit(FILES)
    source = open_at(hub, tmp_path)
    monkeypatch.setattr(limits, "_RESERVE_BYTES", 1 << 60)
    with pytest.raises(CapillaryError, match="no room for the files to fetch from the data set") as refused:
        source.fetch("images/c.tif", tmp_path / "t")
    assert refused.value.code == ExitCode.MACHINE


def test_an_archive_in_a_data_set_is_unpacked(hub: FakeHub, tmp_path: Path) -> None:
    """Under the limits of every archive."""
    packed = write_zip(tmp_path / "made.zip", ("a.tif", SMALL))
    hub.commit({"set/all.zip": packed.read_bytes()})
    source = open_at(hub, tmp_path, f"{ADDRESS}/all.zip")
    assert source.names("") == ["a.tif", "dataset.csv"]
    assert fetched(source, "a.tif", tmp_path) == SMALL


def test_the_command_writes_and_renews_a_pin(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the token of the source; a file that is no pin is kept."""
    first = hub.commit(FILES)
    hub.needs_token = True
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    access = "network: source, env: [HF_ENDPOINT], env_from: {HF_TOKEN: SOURCE_HF_TOKEN}"
    (tmp_path / "configs" / "stages.yaml").write_text(
        f"ingest: {{{access}, resume: false, gpu: none, memory_gb: null, pids: 9, shm_gb: 1}}\n"
    )
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)

    def run(*words: str) -> tuple[str, object]:
        done = CliRunner().invoke(app, ["dataset", "pin", *words])
        return done.output, done.exception

    assert isinstance(run(ADDRESS)[1], DataError)
    monkeypatch.setenv("SOURCE_HF_TOKEN", TOKEN)
    assert f"pinned {parse_address(ADDRESS).text} at {first}" in run(ADDRESS)[0]
    assert first in (tmp_path / "configs/sources/vessels.hub.json").read_text()
    assert "is still at" in run(ADDRESS)[0]
    second = hub.commit({"set/x": b"y"})
    assert f"moved from {first} to {second}" in run(ADDRESS)[0]
    (tmp_path / "o.hub.json").write_text("mine")
    assert isinstance(run(ADDRESS, "o.hub.json")[1], DataError)
    assert (tmp_path / "o.hub.json").read_text() == "mine"
    for words in (("hf://a/b",), (ADDRESS, "o.json")):
        error = run(*words)[1]
        assert isinstance(error, CapillaryError)
        assert error.code == ExitCode.USAGE
