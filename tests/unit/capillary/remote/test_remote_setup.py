"""`capillary remote setup`: proved first, then written; nothing secret where Git sees it."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from configobj import ConfigObj

from capillary.remote import kinds, setup, writing
from capillary.remote.asking import Request, complete
from capillary.remote.kind import Kind
from capillary.remote.kinds import checked_url, refuse_missing_package
from capillary.remote.plans import Answers, RemotePlan, plan_remote
from capillary.remote.setup import set_up_remote
from capillary.remote.trial import PROBE, prove
from capillary.remote.writing import write_remote
from stages.common.errors import CapillaryError, ExitCode, ServiceError
from stages.common.preflight.checks.service import Answer

CONFIG = "[core]\n    # no report leaves the lab\n    analytics = false\n"
HUB = "https://hub.example/alice/vessels"
S3 = Request(kind=Kind.S3, url="s3://b")


@dataclass
class FakePerson:
    """A person at a terminal, or nobody."""

    is_there: bool = True
    answers: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    yes: bool = True
    asked: list[str] = field(default_factory=list)

    def ask(self, text: str, default: str = "") -> str:
        self.asked.append(text)
        return self.answers.pop(0) or default

    def ask_secret(self, text: str) -> str:
        self.asked.append(text)
        return self.secrets.pop(0)

    def agrees(self, text: str) -> bool:
        self.asked.append(text)
        return self.yes


NOBODY = FakePerson(is_there=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A DVC repository without a remote."""
    root = tmp_path / "project"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc/config").write_text(CONFIG)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("kind", "url", "clean"),
    [
        (Kind.DAGSHUB, f"{HUB}.git/", HUB),
        (Kind.DAGSHUB, f"{HUB}.mlflow", HUB),
        (Kind.S3, "s3://bucket/a/", "s3://bucket/a"),
        (Kind.SSH, "ssh://bob@host:22/data", "ssh://bob@host:22/data"),
        (Kind.FOLDER, "../store", "../store"),
        (Kind.DAGSHUB, "https://hub.example/alice", None),
        (Kind.DAGSHUB, "https://alice:t@hub.example/alice/vessels", None),
        (Kind.SSH, "ssh://bob:pw@host/data", None),
        (Kind.S3, "https://bucket/a", None),
        (Kind.GS, "gs://", None),
        (Kind.FOLDER, "s3://bucket", None),
        (Kind.FOLDER, "", None),
    ],
)
def test_a_url_is_cleaned_or_refused(kind: Kind, url: str, clean: str | None) -> None:
    """A login in it would be committed; the refusal shows the form, and not the password."""
    if clean is not None:
        assert checked_url(kind, url) == clean
        return
    with pytest.raises(CapillaryError) as raised:
        checked_url(kind, url)
    assert raised.value.code is ExitCode.USAGE
    assert ":pw" not in raised.value.report()
    assert ":t@" not in raised.value.report()


@pytest.mark.parametrize("endpoint", ["minio:9000", "127.0.0.1:9000", "s3://host", "https://", "https://a:pw@host"])
def test_an_endpoint_is_an_address_without_a_login(endpoint: str) -> None:
    """From the option and from the variable; botocore's own words for it are a traceback."""
    variables = {"REMOTE_AWS_ENDPOINT_URL": endpoint}
    for request, told in ((Request(kind=Kind.S3, url="s3://b", endpoint=endpoint), {}), (S3, variables)):
        with pytest.raises(CapillaryError, match="the endpoint") as raised:
            complete(request, told, [], NOBODY)
        assert raised.value.code is ExitCode.USAGE
        assert ":pw" not in raised.value.report()
    assert complete(S3, {"REMOTE_AWS_ENDPOINT_URL": "http://minio:9000"}, [], NOBODY).endpoint == "http://minio:9000"


def test_a_missing_package_is_named_with_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked."""
    monkeypatch.setitem(kinds.PACKAGES, Kind.SSH, kinds.Package(name="dvc-ssh", module="dvc_none", extra="ssh"))
    with pytest.raises(CapillaryError) as raised:
        refuse_missing_package(Kind.SSH)
    assert "pip install -c constraints.txt dvc-ssh" in raised.value.remedy
    refuse_missing_package(Kind.FOLDER)


def test_secrets_come_from_variables_or_are_typed_unseen() -> None:
    """A pair of keys is of one purpose; what is missing without a terminal is named."""
    hub = Request(kind=Kind.DAGSHUB, url=HUB)
    assert complete(hub, {"DAGSHUB_USER_TOKEN": "t"}, [], NOBODY).secret == "t"
    person = FakePerson(answers=["bob"], secrets=["typed"])
    answers = complete(hub, {}, [], person)
    assert (answers.secret, answers.user, answers.mlflow, answers.default) == ("typed", "bob", True, True)
    for request in (hub, Request(kind=Kind.S3), Request(kind=Kind.DAGSHUB, url=HUB, yes=True)):
        with pytest.raises(CapillaryError, match="is missing") as raised:
            complete(request, {}, [], FakePerson() if request.yes else NOBODY)
        assert raised.value.code is ExitCode.USAGE
    both = {"REMOTE_AWS_ACCESS_KEY_ID": "r", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "as"}
    s3 = complete(Request(kind=Kind.S3, url="s3://b"), both, ["other"], NOBODY)
    assert (s3.key_id, s3.secret, s3.default, s3.name) == ("r", "", False, "s3")


@pytest.mark.parametrize(
    ("answers", "public", "secret"),
    [
        (
            Answers(kind=Kind.DAGSHUB, url=HUB, name="origin", default=True, secret="tok"),
            {"url": "s3://dvc", "endpointurl": f"{HUB}.s3"},
            {"access_key_id": "tok", "secret_access_key": "tok"},
        ),
        (
            Answers(kind=Kind.S3, url="s3://b/f", name="s", default=False, key_id="i", secret="k", endpoint="http://h"),
            {"url": "s3://b/f", "endpointurl": "http://h"},
            {"access_key_id": "i", "secret_access_key": "k"},
        ),
        (
            Answers(kind=Kind.SSH, url="ssh://h/f", name="s", default=False, user="bob"),
            {"url": "ssh://h/f", "user": "bob"},
            {},
        ),
        (
            Answers(kind=Kind.GS, url="gs://b", name="g", default=False, credentials="/k.json"),
            {"url": "gs://b"},
            {"credentialpath": "/k.json"},
        ),
        (Answers(kind=Kind.FOLDER, url="../store", name="f", default=False), {"url": "../../store"}, {}),
        (Answers(kind=Kind.FOLDER, url="/mnt/lab", name="f", default=False), {"url": "/mnt/lab"}, {}),
    ],
)
def test_what_is_secret_is_kept_apart(
    answers: Answers, public: dict[str, str], secret: dict[str, str], tmp_path: Path
) -> None:
    """config is committed, config.local is not; neither value shows in a log."""
    plan = plan_remote(answers, tmp_path)
    assert plan.variables == {}, "nobody asked for MLflow's login"
    assert (plan.public, plan.secret) == (public, secret)
    assert "tok" not in repr(answers) + repr(plan)


def test_a_folder_is_proved_and_written(project: Path) -> None:
    """The probe is gone, notes in the file stay, no secret file appears; again changes nothing."""
    request = Request(kind=Kind.FOLDER, url="../store")
    set_up_remote(request, project, NOBODY)
    config = ConfigObj(str(project / ".dvc/config"))
    assert config["core"]["remote"] == "folder"
    assert config['remote "folder"']["url"] == "../../store"
    assert "# no report leaves the lab" in (project / ".dvc/config").read_text()
    assert list((project.parent / "store").iterdir()) == []
    assert not (project / ".dvc/config.local").exists()
    before = files_of(project)
    set_up_remote(request, project, NOBODY)
    assert files_of(project) == before


def test_a_remote_of_that_name_which_leads_elsewhere_is_replaced_on_request_alone(project: Path) -> None:
    """By --yes, or by the person."""
    set_up_remote(Request(kind=Kind.FOLDER, url="../store"), project, NOBODY)
    other = Request(kind=Kind.FOLDER, url="../other")
    before = files_of(project)
    for person in (NOBODY, FakePerson(yes=False)):
        with pytest.raises(CapillaryError, match="already exists"):
            set_up_remote(other, project, person)
    assert files_of(project) == before
    set_up_remote(other, project, FakePerson())
    assert ConfigObj(str(project / ".dvc/config"))['remote "folder"']["url"] == "../../other"


def test_a_remote_that_does_not_work_changes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a folder that cannot be made, nor a tracking server that refuses the token."""
    before = files_of(project)
    with pytest.raises(ServiceError, match="nothing was written"):
        set_up_remote(Request(kind=Kind.FOLDER, url="/proc/none/store"), project, NOBODY)
    monkeypatch.setattr(setup, "prove", lambda _name, _config: None)
    refused = {"fault": "refuses this login", "status": 401, "remedy": "write .env"}
    monkeypatch.setattr(setup, "ask_mlflow", lambda service, *_: Answer(service=service, **refused))
    monkeypatch.setenv("DAGSHUB_USER_TOKEN", "dhp_1")
    with pytest.raises(ServiceError, match="refuses this login") as raised:
        set_up_remote(Request(kind=Kind.DAGSHUB, url=HUB, mlflow=True), project, NOBODY)
    assert "dhp_1" not in raised.value.report()
    assert "--user" in raised.value.remedy, ".env is what the command is about to write"
    assert files_of(project) == before
    monkeypatch.setattr(setup, "ask_mlflow", lambda service, *_: Answer(service=service, fault=""))
    set_up_remote(Request(kind=Kind.DAGSHUB, url=HUB, mlflow=True), project, NOBODY)
    assert "MLFLOW_TRACKING_PASSWORD=dhp_1\n" in (project / ".env").read_text()
    assert "dhp_1" not in (project / ".dvc/config").read_text()
    for name in (".env", ".dvc/config.local"):
        assert stat.S_IMODE((project / name).stat().st_mode) == 0o600


class BotocoreLikeError(Exception):
    """Botocore raises errors of its own, not OSError."""


class Store:
    """A remote in memory that fails at one step."""

    def __init__(self, broken: str = "", error: Exception | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self._broken, self._error = broken, error or OSError("no route")

    def makedirs(self, *_: object, **__: object) -> None:
        return None

    def pipe_file(self, place: str, content: bytes) -> None:
        self._fail("put")
        self.files[place] = content

    def cat_file(self, place: str) -> bytes:
        self._fail("get")
        return b"x" if self._broken == "bytes" else self.files[place]

    def rm_file(self, place: str) -> None:
        self._fail("remove")
        del self.files[place]

    def ls(self, _folder: str) -> list[str]:
        if self._broken != "write":
            raise BotocoreLikeError("nothing here")
        return []

    def _fail(self, step: str) -> None:
        if step == self._broken or (self._broken, step) == ("write", "put"):
            raise self._error


PLAN = RemotePlan(name="s3", public={"url": "s3://b/f"}, secret={"secret_access_key": "sesame"}, default=False)


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (Store("put", PermissionError("AccessDenied for sesame")), "refuses this login"),
        (Store("write", PermissionError("AccessDenied")), "can be read with this login, but not written"),
        (Store("put", OSError("NoSuchBucket")), "has no such place"),
        (Store("put", OSError("ExpiredToken")), "has expired"),
        (Store("put", ConnectionError("Could not connect")), "does not answer"),
        (Store("put", BotocoreLikeError("Unable to locate credentials")), "needs a login"),
        (Store("get"), "does not give a file back"),
        (Store("remove"), "does not remove a file"),
        (Store("bytes"), "other bytes"),
    ],
)
def test_a_failed_round_trip_says_why(store: Store, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In plain words, without the secret."""

    def open_store(config: Mapping[str, Any], _name: str) -> tuple[Store, str]:
        assert config["remote"]["s3"]["connect_timeout"] > 0
        return store, "b/f"

    monkeypatch.setattr("capillary.dvc.config.open_remote", open_store)
    with pytest.raises(ServiceError, match=words) as raised:
        prove("s3", {"remote": {"s3": {**PLAN.public, **PLAN.secret}}})
    assert "sesame" not in raised.value.report()
    assert all(PROBE in name for name in store.files)


def test_files_are_put_back_when_one_cannot_be_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, as they were, or none."""
    (project / ".env").write_text("A=1\n")
    before = files_of(project)
    plan = RemotePlan(
        name="o", public={"url": "s3://b"}, secret={"session_token": "t"}, default=True, variables={"MLFLOW_X": "1"}
    )
    replace = writing._replace

    def full(file: Path, content: bytes, *, private: bool) -> None:
        if file.name == ".env" and b"MLFLOW_X" in content:
            raise OSError(28, "No space left on device")
        replace(file, content, private=private)

    monkeypatch.setattr(writing, "_replace", full)
    with pytest.raises(OSError, match="No space"):
        write_remote(plan, project)
    assert files_of(project) == before


@pytest.mark.parametrize("name", ["Lab", "", "a'b", "a\nb", "a%(x)s", 'my "lab"', "-x"])
def test_a_name_that_dvc_reads_otherwise_is_refused(name: str) -> None:
    """`Lab` would replace the remote `lab` unasked; others make .dvc/config unreadable for everybody."""
    with pytest.raises(CapillaryError, match="cannot be the name of a remote"):
        complete(Request(kind=Kind.FOLDER, url="/mnt/lab", name=name), {}, ["lab"], NOBODY)


@pytest.mark.parametrize(
    ("secret", "variables", "file"),
    [({"session_token": "a%(b)s"}, {}, "config.local"), ({}, {"P": "a${HOME}"}, ".env"), ({}, {"P": "a\r"}, ".env")],
)
def test_a_secret_that_would_be_read_as_another_is_refused(
    project: Path, secret: dict[str, str], variables: dict[str, str], file: str
) -> None:
    """DVC and .env take parts of it for references, also in quotes."""
    before = files_of(project)
    plan = RemotePlan(name="o", public={"url": "s3://b"}, secret=secret, default=True, variables=variables)
    with pytest.raises(CapillaryError, match=f"cannot be written to {file}"):
        write_remote(plan, project)
    assert files_of(project) == before


def test_the_env_file_keeps_its_other_lines(project: Path) -> None:
    """A variable is set once, where it was set before; what cannot be quoted is refused; a link is left alone."""
    env = project / ".env"
    env.write_text("# mine\nexport M_URI=old\nA=1\nM_URI=older\n")
    plan = RemotePlan(
        name="o", public={"url": "s3://b"}, secret={}, default=False, variables={"M_URI": "x", "P": "a b"}
    )
    write_remote(plan, project)
    assert env.read_text() == "# mine\nM_URI=x\nA=1\nP='a b'\n"
    bad = RemotePlan(name="o", public={"url": "s3://b"}, secret={}, default=False, variables={"P": "a'\nb"})
    with pytest.raises(CapillaryError, match="quote"):
        write_remote(bad, project)
    env.rename(project / "real")
    env.symlink_to("real")
    with pytest.raises(CapillaryError, match="link"):
        write_remote(plan, project)


def test_outside_a_dvc_repository_nothing_starts(tmp_path: Path) -> None:
    """It says where to go."""
    with pytest.raises(CapillaryError, match="not a DVC repository"):
        set_up_remote(Request(kind=Kind.FOLDER, url="x"), tmp_path, NOBODY)


def test_the_command_line_has_no_place_for_a_secret() -> None:
    """A secret on it would be in the shell's history and in the list of processes."""
    assert {name for name in Request.__annotations__ if "token" in name or "pass" in name or "secret" in name} == set()
