"""Two clones that share nothing but a remote of DVC: what one computed the other takes, and never what is not that."""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from capillary.cache import shared
from capillary.cache.prefetch import main, prefetch
from capillary.compute import circumstances
from capillary.compute.circumstances import digests_of, recall
from capillary.dvc.content import RemoteContent
from capillary.dvc.graph import Entry
from capillary.executors.sandbox import sweep
from capillary.launcher.run import run_stage
from capillary.lifetimes.stop import Stop
from capillary.planning.access import StageAccess
from capillary.planning.plan import StagePlan
from capillary.settings import Settings, read_settings
from stages.common.machine.gpus import Gpu
from tests.support.repository import start_dvc
from tests.support.toy import LIMITS

DVC_YAML = """
stages:
  toy:
    cmd: [capillary stage door, capillary stage toy]
    deps: [data/in.txt]
    params: [toy.times, toy.rate]
    outs: [data/out, data/curve.csv]
"""
FILES = {
    "dvc.yaml": DVC_YAML,
    "params.yaml": "toy: {times: 1, rate: 1.0e-05}\n",
    "configs/stages.yaml": f"toy: {{network: none, env: [], resume: true, {LIMITS}}}\ndoor: {{gate: true}}\n",
    "configs/door.yaml": "services: []\n",
    **dict.fromkeys(("stages/__init__.py", "stages/common/__init__.py", "stages/door/__init__.py"), ""),
    "data/in.txt": "in",
}


@dataclass
class Clone:
    """A clone, in which stages run in this process and write who computed them."""

    root: Path
    ran: list[str] = field(default_factory=list)

    def environment_id(self, _repository: Path, _stage: str, _access: StageAccess) -> list[str]:
        return ["here"]

    def gpus(self, _settings: Settings) -> tuple[Gpu, ...]:
        return ()

    def execute(self, plan: StagePlan, _stop: Stop, publish: Callable[[Path], None]) -> int:
        self.ran.append(plan.stage)
        work = plan.repository / "work"
        (work / "data/out").mkdir(parents=True, exist_ok=True)
        (work / "data/out/text").write_text(f"by {self.root.name}")
        (work / "data/curve.csv").write_text("1")
        if plan.gated is None:
            publish(work)
        return 0

    def run(self, name: str = "toy") -> int:
        with contextlib.chdir(self.root):
            return run_stage(name, (), {"DVC_STAGE": "toy"}, Stop())

    @property
    def out(self) -> str:
        return (self.root / "data/out/text").read_text()

    def commit(self) -> None:
        with contextlib.chdir(self.root), Repo(str(self.root)) as repo:
            repo.commit(force=True)


Make = Callable[[str], Clone]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    for name in [name for name in os.environ if name.startswith("CAPILLARY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAPILLARY_SHARED_CACHE", "lab")

    def make(name: str) -> Clone:
        made = Clone(tmp_path / name)
        for file, text in FILES.items():
            (made.root / file).parent.mkdir(parents=True, exist_ok=True)
            (made.root / file).write_text(text)
        start_dvc(made.root)
        with (made.root / ".dvc/config").open("a") as stream:
            stream.write(f"['remote \"lab\"']\n    url = {tmp_path / 'lab'}\n")
        monkeypatch.setattr("capillary.launcher.run.choose_executor", lambda _settings: made)
        monkeypatch.setattr(circumstances, "cpu_model", lambda: f"CPU of {name}")
        return made

    return make


def entry_of(lab: Path) -> Path:
    (entry,) = (lab / "runs").glob("*/*/*")
    return entry


def warnings(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capfd.readouterr().out.splitlines() if line.startswith("warning:")]


def test_what_one_computed_the_other_takes(clone: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither the stage nor its gate runs, and an audit knows which machine it was."""
    one = clone("one")
    assert (one.run("door"), one.run()) == (0, 0)
    other = clone("other")
    assert (other.run("door"), other.run()) == (0, 0)
    assert (one.ran, other.ran) == (["door", "toy"], [])
    assert other.out == "by one"
    found = recall(other.root, "toy", digests_of(other.root, ["data/out", "data/curve.csv"]))
    assert found is not None
    assert found.cpu == "CPU of one"
    assert warnings(capfd) == []
    assert list((other.root / ".capillary/sandbox").iterdir()) == []


def test_what_a_kill_leaves_is_swept(clone: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `capillary clean` and the next stage: outs may take many GB."""
    clone("one").run()
    other = clone("other")
    monkeypatch.chdir(other.root)
    cache = shared.open_shared(other.root, other.root, Entry(other.root, "toy"), read_settings(other.root), Stop())
    assert cache is not None

    def die(work: Path) -> None:
        assert (work / "data/out/text").exists()
        os._exit(9)

    if not (child := os.fork()):
        try:
            cache.take(die)
        finally:
            os._exit(1)  # whatever happened: it is a copy of the process that runs the tests
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert list(other.root.glob(".capillary/**/text"))
    sweep(other.root)
    assert not list(other.root.glob(".capillary/**/text"))


def test_other_params_are_another_run(clone: Make) -> None:
    """Both are in the remote afterwards."""
    clone("one").run()
    other = clone("other")
    (other.root / "params.yaml").write_text("toy: {times: 2, rate: 1.0e-05}\n")
    assert other.run() == 0
    assert other.out == "by other"
    assert len(list((other.root.parent / "lab/runs").glob("*/*/*"))) == 2


def test_the_record_is_one_that_dvc_itself_would_write(clone: Make) -> None:
    """So `dvc push --run-cache` and `dvc repro --pull` know it too."""
    one = clone("one")
    one.run()
    one.commit()
    with contextlib.chdir(one.root), Repo(str(one.root)) as repo:
        stage = repo.stage.load_one(name="toy")
        repo.stage_cache.save(stage)
        (own,) = (Path(repo.stage_cache.cache_dir)).glob("*/*/*")
    shared_one = entry_of(one.root.parent / "lab")
    assert own.parts[-3:] == shared_one.parts[-3:]
    assert yaml.safe_load(own.read_text()) == yaml.safe_load(shared_one.read_text())


def test_off_is_as_before(clone: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes out, nothing comes in."""
    monkeypatch.setenv("CAPILLARY_SHARED_CACHE", "off")
    one = clone("one")
    assert one.run() == 0
    assert not (one.root.parent / "lab").exists()


def test_a_card_whose_network_nobody_else_finds_is_not_shared(
    clone: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a store in mlruns/, unless the team keeps networks in the remote. With a server it is."""
    lab = clone("one").root.parent / "lab"
    monkeypatch.setitem(FILES, "configs/stages.yaml", FILES["configs/stages.yaml"].replace("none", "tracking", 1))
    assert clone("local").run() == 0
    assert "toy is not shared: its network is in mlruns/" in capfd.readouterr().out
    assert not lab.exists()
    monkeypatch.setitem(FILES, "configs/tracking.yaml", "tracking: {weights_in_remote: true}\n")
    assert clone("kept").run() == 0
    entry_of(lab).unlink()
    monkeypatch.delitem(FILES, "configs/tracking.yaml")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert clone("served").run() == 0
    assert entry_of(lab).is_file()


def test_a_run_that_is_forced_computes(clone: Make) -> None:
    """dvc.lock and the cache have its result: it was asked for again on purpose."""
    one = clone("one")
    one.run()
    one.commit()
    shutil.rmtree(one.root / "data/out")
    one.ran.clear()
    assert one.run() == 0
    assert one.ran == ["toy"]


def test_what_a_commit_records_is_fetched(clone: Make) -> None:
    """As after `git pull`: dvc.lock names the outs, and only the remote has them."""
    one = clone("one")
    one.run()
    one.commit()
    shutil.rmtree(one.root.parent / "lab/runs")
    other = clone("other")
    shutil.copy(one.root / "dvc.lock", other.root)
    assert other.run() == 0
    assert (other.ran, other.out) == ([], "by one")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"path": "../../stray"}, "its outs are others than dvc.yaml declares"), ({"md5": "0" * 32}, "do not have all")],
)
def test_a_foreign_record_is_named_and_not_used(
    clone: Make, capfd: pytest.CaptureFixture[str], change: dict[str, str], words: str
) -> None:
    """Whoever may write to the remote writes no file of this machine, and no other result than DVC's own hashes say."""
    clone("one").run()
    other = clone("other")
    entry = entry_of(other.root.parent / "lab")
    record = yaml.safe_load(entry.read_text())
    record["outs"][0].update(change)
    entry.write_text(yaml.safe_dump(record))
    assert other.run() == 0
    assert (other.ran, other.out) == (["toy"], "by other")
    (warning,) = warnings(capfd)
    assert entry.name in warning
    assert words in warning


def test_content_that_is_not_what_its_name_says_is_not_used(clone: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor does it stay in this machine's cache, where the next stage would take it."""
    clone("one").run()
    other = clone("other")
    lab = other.root.parent / "lab"
    for file in (lab / "files/md5").glob("*/*"):
        if file.read_bytes() == b"by one":
            file.chmod(0o644)
            file.write_bytes(b"poison")
    assert other.run() == 0
    assert other.out == "by other"
    assert len(warnings(capfd)) == 1
    assert not any(b"poison" in file.read_bytes() for file in (other.root / ".dvc/cache").rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no folder", "the result of toy is not shared; later: dvc push --run-cache"),
        ("no such remote", "toy is computed here"),
        ("silent", "toy is computed here"),
    ],
)
def test_a_remote_that_does_not_answer_costs_one_warning(
    clone: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    """And never the run."""
    one = clone("one")
    if fault == "no folder":
        (one.root.parent / "lab").write_text("a file")
    if fault == "no such remote":
        monkeypatch.setenv("CAPILLARY_SHARED_CACHE", "elsewhere")
    if fault == "silent":
        monkeypatch.setattr(shared, "ANSWER_S", 0.0)
    assert (one.run("door"), one.run()) == (0, 0)
    assert one.out == "by one"
    (warning,) = warnings(capfd)
    assert "CAPILLARY_SHARED_CACHE" in warning
    assert words in warning


def test_a_remote_that_falls_silent_after_its_list_holds_nobody(clone: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the wait for a record, as it ends that for the list; so does the limit for an answer."""
    clone("one").run()
    other, stop, ended = clone("other"), Stop(), threading.Event()

    def read_file(_remote: RemoteContent, *_names: str, most_bytes: int) -> bytes:
        stop.receive(signal.SIGINT, None)
        ended.wait(5)
        return b"" * most_bytes

    monkeypatch.setattr(RemoteContent, "read_file", read_file)
    monkeypatch.chdir(other.root)
    entry, settings = Entry(other.root, "toy"), read_settings(other.root)
    cache = shared.open_shared(other.root, other.root, entry, settings, stop)
    assert cache is not None
    began_s = time.monotonic()
    assert cache.fetch() is None
    assert time.monotonic() - began_s < 5
    ended.set()


def test_before_an_experiment_dvc_itself_gets_what_others_computed(
    clone: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no job is submitted for it; what is up to date is not looked for, and a damaged cell stops no other."""
    one = clone("one")
    one.run()
    other = clone("other")
    settings = read_settings(other.root)
    monkeypatch.chdir(other.root)
    assert Entry(other.root, "toy").is_due()
    assert prefetch(other.root, ["no such cell", "toy"], settings, Stop()) == ["toy"]
    assert not Entry(other.root, "toy").is_due()
    assert prefetch(other.root, ["toy"], settings, Stop()) == []
    assert warnings(capfd) == []


@pytest.mark.usefixtures("default_signals")
def test_the_program_that_fetches_speaks_as_the_settings_say(
    clone: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints to the terminal of the experiment that starts it."""
    clone("one").run()
    monkeypatch.chdir(clone("other").root)
    monkeypatch.setenv("CAPILLARY_LOG_FORMAT", "json")
    monkeypatch.setattr(sys, "argv", ["prefetch", "toy"])
    capfd.readouterr()
    main()
    [line] = capfd.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "fetched from the shared cache: toy"
