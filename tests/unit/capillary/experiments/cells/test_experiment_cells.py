"""Cells with a shell script in DVC's place: what each is given, how its end is told, and how all of them stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from capillary.cache.lines import fetched, pushed
from capillary.experiments import cells as cells_module
from capillary.experiments.cells import Cells, Outcome, Slot
from capillary.publishing.leftovers import TORN
from tests.support.parts import REPOSITORY, command_environment
from tests.unit.capillary.experiments.fake_dvc import FakeDvc

SLOT = Slot(name="slot 1", environment={})
BUSY = "'in.txt' is busy, it is being blocked by: 7"
# a cell that reports each request to stop and then does `$then`; it ends by itself within seconds
ASKED = """
trap 'echo asked INT; $then' INT
trap 'echo asked TERM; $then' TERM
echo ready
n=0
while [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.05; done
"""
# a runner of one cell, which holds the pipe `alive` open and writes to it if it may end by itself
RUNNER = """
from pathlib import Path
from types import SimpleNamespace
from capillary.experiments import cells

class Listener:
    def started(self, address, slot): pass
    def printed(self, address, line): print(line, flush=True)
    def ended(self, outcome): pass

cells.KILL_SAFE_DVC = ("sh", "-c", "exec 3> alive; echo ready; sleep 10; echo survived >&3")
slot = cells.Slot(name="slot 1", environment={})
cells.Cells(Path.cwd(), {"PATH": "/usr/bin:/bin"}, Path("logs"), Listener()).run(["a"], [slot])
"""


class RecordingListener:
    """A listener that keeps what it is told; `when` maps a line, or `started`, to what happens then."""

    def __init__(self) -> None:
        self.started_on: dict[str, Slot] = {}
        self.lines: list[tuple[str, str]] = []
        self.outcomes: list[Outcome] = []
        self.when: dict[str, Callable[[], None]] = {}

    def started(self, address: str, slot: Slot) -> None:
        self.started_on[address] = slot
        self._act("started")

    def printed(self, address: str, line: str) -> None:
        self.lines.append((address, line))
        self._act(line)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def _act(self, event: str) -> None:
        if event in self.when:
            self.when[event]()

    @property
    def requests(self) -> list[str]:
        """The requests to stop that cells reported."""
        return [line for _, line in self.lines if line.startswith("asked")]


class Project:
    """A folder with cells that run the fake."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dvc = FakeDvc(root)
        self.heard = RecordingListener()
        self.cells = self.with_environment({"PATH": os.environ["PATH"]})

    def with_environment(self, environment: Mapping[str, str]) -> Cells:
        return Cells(self.root, environment, self.root / "logs" / "cells", self.heard)

    def run(self, *addresses: str, slots: int = 1) -> list[Outcome]:
        return self.cells.run(addresses, [SLOT] * slots)

    def log(self, address: str) -> str:
        return (self.root / "logs" / "cells" / f"{address}.log").read_text()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path)
    monkeypatch.setattr(cells_module, "KILL_SAFE_DVC", made.dvc.argv)
    return made


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two tries, none of which is waited for. Other threads of this process sleep as they did."""
    found: list[float] = []
    monkeypatch.setattr(cells_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=found.append))
    return found


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C heard", "Ctrl-C ignored"])
def request_to_stop(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """The signal that cells get: where this process ignores Ctrl-C (nohup), they do so as well."""
    ignored = request.param is signal.SIGTERM
    former = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    yield request.param
    signal.signal(signal.SIGINT, former)


def test_a_cell_is_one_dvc_repro_of_its_own(project: Project) -> None:
    """In the workspace, without its upstream stages, waiting for the lock; alone in its process group."""
    project.dvc.does('pwd; read -r stat < /proc/$$/stat; set -- $stat; echo "$1 leads $5"')
    project.run("train@a-0")
    assert project.dvc.calls == ["--wait-for-lock repro --single-item train@a-0"]
    folder, group = (line for _, line in project.heard.lines)
    assert Path(folder) == project.root
    leader, _, number = group.partition(" leads ")
    assert leader == number


def test_a_slots_variables_win_over_the_experiments(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads set for the whole experiment are no share of a cell; what this process has else stays out."""
    monkeypatch.setenv("STRAY", "stray")
    project.dvc.does('echo "$CAPILLARY_THREADS $CAPILLARY_GPUS $DVC_EXP_NAME$STRAY"')
    everyones = {"PATH": os.environ["PATH"], "CAPILLARY_THREADS": "16", "DVC_EXP_NAME": "v"}
    slot = Slot(name="GPU 1", environment={"CAPILLARY_THREADS": "2", "CAPILLARY_GPUS": "GPU-1"})
    project.with_environment(everyones).run(["train@a-0"], [slot])
    assert project.heard.lines == [("train@a-0", "2 GPU-1 v")]
    assert project.heard.started_on == {"train@a-0": slot}


@pytest.mark.parametrize(
    ("script", "code", "ran"),
    [
        ("echo \"Running stage 'train@a-0':\"; echo more", 0, True),
        ("echo \"Stage 'train@a-0' did not change, skipping\"", 0, False),
        ("echo 'a log that quotes: Running stage'", 0, False),
        ("echo \"Running stage 'train@a-0':\"; exit 3", 3, True),
        (f"echo \"Running stage 'train@a-0':\"; echo '{fetched('train@a-0')}'", 0, False),
        (f"echo \"Running stage 'train@a-0':\"; echo '{pushed('train@a-0', 'lab')}'", 0, True),
        ("kill -9 $$", 137, False),
        ("kill -15 $$", 143, False),
    ],
)
def test_an_outcome_is_how_dvc_ended(project: Project, script: str, code: int, ran: bool) -> None:
    """Its exit code as a shell reports it, and whether the stage's command ran; a failure is tried once."""
    project.dvc.does(script)
    before = time.monotonic()
    (outcome,) = project.run("train@a-0")
    assert (outcome.address, outcome.code, outcome.ran) == ("train@a-0", code, ran)
    assert 0 < outcome.seconds <= time.monotonic() - before
    assert project.heard.outcomes == [outcome]
    assert len(project.dvc.calls) == 1


def test_everything_a_cell_prints_is_in_its_log_at_once(project: Project) -> None:
    """Both streams, line by line while it runs; bytes that are no text end nothing. A run starts the log again."""
    seen = []
    project.heard.when["second"] = lambda: seen.append(project.log("sub-dvc.yaml:train@a-0"))
    project.dvc.does(r"echo first >&2; echo second; printf '\377\n'")
    for _ in range(2):
        (outcome,) = project.run("sub/dvc.yaml:train@a-0")
        assert outcome.log.read_text() == "first\nsecond\n\ufffd\n"
    assert seen == ["first\nsecond\n"] * 2
    assert [line for _, line in project.heard.lines[:3]] == ["first", "second", "\ufffd"]


def test_cells_run_at_once_one_on_each_slot(project: Project) -> None:
    """Two that wait for each other both end; outcomes come in the order of the addresses."""
    wait = 'touch "$address"; for n in $(seq 500); do [ -e a ] && [ -e b ] && exit 0; sleep 0.01; done; exit 1'
    project.dvc.does(wait)
    slots = [Slot(name=str(number), environment={}) for number in (1, 2)]
    outcomes = project.cells.run(["b", "a"], slots)
    assert [(outcome.address, outcome.code) for outcome in outcomes] == [("b", 0), ("a", 0)]
    assert {slot.name for slot in project.heard.started_on.values()} == {"1", "2"}


def test_one_slot_has_one_cell_at_a_time(project: Project) -> None:
    """In order, and a cell that fails ends no other."""
    project.dvc.does('echo start; echo end; [ "$address" != a ]')
    outcomes = project.run("a", "b", "c")
    assert [outcome.code for outcome in outcomes] == [1, 0, 0]
    assert project.heard.lines == [(address, words) for address in "abc" for words in ("start", "end")]


def test_a_path_that_another_dvc_works_on_is_waited_for(project: Project, pauses: list[float]) -> None:
    """DVC gives up at once where a path is busy; the cell tries again after a pause."""
    project.dvc.does(f'[ "$(wc -l < calls.txt)" -gt 2 ] && exit 0; echo "ERROR: {BUSY}"; echo more; exit 1')
    (outcome,) = project.run("train@a-0")
    assert outcome.code == 0
    assert len(project.dvc.calls) == 3
    assert pauses == [2.0, 2.0]
    assert project.log("train@a-0").count(BUSY) == 2


@pytest.mark.parametrize("words", [BUSY, "Unable to acquire lock"])
def test_who_stays_busy_is_an_error_at_last(
    project: Project, pauses: list[float], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """After so many tries, with DVC's own code."""
    monkeypatch.setattr(cells_module, "MOST_BUSY_TRIES", 3)
    project.dvc.does(f'echo "ERROR: {words}"; exit 255')
    assert project.run("train@a-0")[0].code == 255
    assert len(project.dvc.calls) == 3


def test_a_cell_that_ends_well_is_not_repeated(project: Project, pauses: list[float]) -> None:
    """Whatever its stage prints about being busy."""
    project.dvc.does(f'echo "{BUSY}"')
    assert project.run("train@a-0")[0].code == 0
    assert (len(project.dvc.calls), pauses) == (1, [])


def test_a_busy_cell_is_not_repeated_after_a_stop(project: Project, pauses: list[float]) -> None:
    """Nothing new starts once somebody asked."""
    project.heard.when[BUSY] = project.cells.stop
    project.dvc.does(f'echo "{BUSY}"; exit 255')
    assert project.run("train@a-0")[0].code
    assert (len(project.dvc.calls), pauses) == (1, [])


def test_a_torn_list_of_who_is_busy_is_removed_and_the_cell_runs(project: Project, pauses: list[float]) -> None:
    """A kill left half of it; DVC starts a new one at the next try, which comes at once."""
    torn = project.root / ".dvc" / "tmp" / "rwlock"
    torn.parent.mkdir(parents=True)
    torn.write_text('{"read": {"/a')
    project.dvc.does(f"[ -e .dvc/tmp/rwlock ] && echo 'ERROR: {TORN}' && echo more && exit 255; echo Running stage a")
    (outcome,) = project.run("train@a-0")
    assert (outcome.code, outcome.ran) == (0, True)
    assert not torn.exists()
    assert pauses == []


def test_no_cell_starts_after_a_stop(project: Project) -> None:
    """Each ends as stopped, and the listener hears of no start."""
    project.cells.stop()
    outcomes = project.run("a", "b")
    assert [(outcome.code, outcome.ran) for outcome in outcomes] == [(130, False)] * 2
    assert [outcome.address for outcome in project.heard.outcomes] == ["a", "b"]
    assert project.heard.started_on == {}
    assert project.dvc.calls == []


def test_a_stop_asks_the_cells_that_run_and_starts_no_more(project: Project, request_to_stop: signal.Signals) -> None:
    """Each running cell is asked once, as Ctrl-C would ask it; where that is ignored, by SIGTERM."""
    project.heard.when["ready"] = project.cells.stop
    project.dvc.does(f"then='exit 9'{ASKED}")
    outcomes = project.run("a", "b")
    assert project.heard.requests == [f"asked {request_to_stop.name.removeprefix('SIG')}"]
    assert [outcome.code for outcome in outcomes] == [9, 130]
    assert list(project.heard.started_on) == ["a"]


@pytest.mark.parametrize(("asked_by", "asked"), [(signal.SIGINT, ["INT", "INT"]), (signal.SIGTERM, ["TERM", "TERM"])])
def test_jobs_of_a_cluster_outlive_their_heads(project: Project, asked_by: signal.Signals, asked: list[str]) -> None:
    """Ctrl-C is passed on, and again; what else ends this program ends the heads alone, which leave their jobs."""
    cells = Cells(project.root, {"PATH": os.environ["PATH"]}, project.root / "logs", project.heard, elsewhere=True)
    project.heard.when |= dict.fromkeys(["ready", *(f"asked {name}" for name in asked)], lambda: cells.stop(asked_by))
    project.dvc.does(f"then=true{ASKED}")
    assert cells.run(["a"], [SLOT])[0].code == 137  # the third time
    assert [line.removeprefix("asked ") for line in project.heard.requests] == asked


@pytest.mark.usefixtures("request_to_stop")
def test_a_second_stop_kills(project: Project) -> None:
    """A cell that ignores the first request ends at the second."""
    project.heard.when |= dict.fromkeys(["ready", "asked INT", "asked TERM"], project.cells.stop)
    project.dvc.does(f"then=true{ASKED}")
    assert project.run("a")[0].code == 137
    assert len(project.heard.requests) == 1


def test_a_stop_while_a_cell_starts_kills_it(project: Project) -> None:
    """It has nothing to lose yet, and nobody would ask it a second time."""
    project.heard.when["started"] = project.cells.stop
    project.dvc.does("sleep 5; echo survived")
    assert project.run("a")[0].code == 137
    assert project.heard.lines == []


def test_a_cell_that_ended_is_asked_no_more(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another program's by now."""
    project.run("a", "b")
    asked: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda group, _number: asked.append(group))
    project.cells.stop()
    assert asked == []


def test_cells_of_a_killed_runner_end(tmp_path: Path) -> None:
    """Nothing trains on in a workspace that nobody looks after."""
    os.mkfifo(tmp_path / "alive")
    environment = command_environment(PYTHONPATH=str(REPOSITORY))
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert runner.stdout is not None
    with (tmp_path / "alive").open() as alive, runner.stdout:
        assert runner.stdout.readline() == "ready\n"
        runner.kill()
        runner.wait()
        assert alive.read() == ""
