"""The pipeline against a real server that misbehaves: train, evaluate and predict under each fault, then sync.

Every training ends trained. Afterwards the server holds what the record holds, once, and DVC has nothing to run.
"""

import contextlib
import csv
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import mlflow
import psutil
import pytest
from mlflow.entities import Run

from stages.common.tracking.spool.listing import spools_in
from stages.common.tracking.spool.records import PointsRecord
from tests.support.chaos import BY_HAND
from tests.support.clone import Clone, prepared_clone
from tests.support.parts import require
from tests.support.secrets import LOGIN, SECRETS, USER, leaks_in, watching_command_lines
from tests.support.tracking.http_faults import Fault, FaultyServer, faulty_server
from tests.support.tracking.mlflow_server import mlflow_server, old_program

pytestmark = pytest.mark.slow
TOKEN = SECRETS["MLFLOW_TRACKING_PASSWORD"]
WRONG = "dhp_another_token"
EPOCHS = 6
STACK = "samples/phantom/images/phantom_01.tif"
PUBLISHES = "`capillary sync` publishes it"
Done = subprocess.CompletedProcess[str]
Point = tuple[str, int, int, float]


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What happens to one command, from its start or from its first results on; for good, or for a while.

    `says` is what the user reads of it; `waits`: the record waits here afterwards, None where that is a matter of luck.
    """

    fault: Fault = Fault.NONE
    from_results: bool = False
    for_s: float | None = None
    token: str = ""  # instead of that of .env
    fills_disk: bool = False
    says: str = ""
    waits: bool | None = False


WELL = Trouble()
DEAD = Trouble(fault=Fault.DEAD, says="does not answer", waits=True)
BACK = replace(DEAD, for_s=10, says="", waits=None)
BACK_LATE = replace(BACK, for_s=60)
WRONG_TOKEN = Trouble(token=WRONG, says="refuses the login", waits=True)
REVOKED = Trouble(fault=Fault.REFUSING, from_results=True, says="refuses the login", waits=True)
FAILING = Trouble(fault=Fault.FAILING)
SLOW = Trouble(fault=Fault.SLOW, waits=None)  # a network of a dozen files may not arrive in time
BLACK_HOLE = Trouble(fault=Fault.BLACK_HOLE, says="does not accept it in time", waits=True)
NO_REGISTRY = Trouble(fault=Fault.NO_REGISTRY, says="no model registry")
DISK = Trouble(fills_disk=True, from_results=True, waits=None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The trouble of each command. `refused` is what predict ends with where only the server has the network."""

    train: Trouble
    evaluate: Trouble
    predict: Trouble
    refused: int = 0


def _everywhere(trouble: Trouble, refused: int = 0) -> Row:
    """The same for all; predict has no results in whose midst something could happen."""
    begun = replace(trouble, from_results=False)
    return Row(train=trouble, evaluate=trouble, predict=begun, refused=refused)


ALL = {
    "dead at the start": _everywhere(DEAD, 7),
    "dead for good in mid-epoch": _everywhere(replace(DEAD, from_results=True), 7),
    "back after 10 s": _everywhere(BACK),
    "back after 60 s": _everywhere(BACK_LATE, 7),
    "30 % 503s": _everywhere(FAILING),
    "wrong token": _everywhere(WRONG_TOKEN, 7),
    "revoked token": _everywhere(REVOKED, 7),
    "10 s latency": _everywhere(SLOW),
    "black hole": _everywhere(BLACK_HOLE, 7),
    "full disk": _everywhere(DISK),
    "no model registry": _everywhere(NO_REGISTRY),
}
ROWS = ALL if BY_HAND else {"one of each kind": Row(train=REVOKED, evaluate=DEAD, predict=FAILING)}


@pytest.fixture(scope="module")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its database, artifacts and log."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def real_server(server_folder: Path) -> Iterator[str]:
    """Its address, without a login. It is an old one, which is asked for less elsewhere, where this machine has it."""
    with mlflow_server(server_folder, program=old_program()) as uri:
        yield uri


@pytest.fixture
def server(real_server: str) -> Iterator[FaultyServer]:
    """The server as clients see it."""
    with faulty_server(int(real_server.rpartition(":")[2]), USER, TOKEN) as faulty:
        yield faulty


class Project:
    """A clone that is about to train, whose .env names the server and holds the token."""

    def __init__(self, clone: Clone, server: FaultyServer) -> None:
        self.clone, self.server = clone, server
        self.outbox = clone.root / ".capillary" / "outbox"
        lines = {**LOGIN, "MLFLOW_TRACKING_URI": server.url, "CAPILLARY_THREADS": "1"}
        (clone.root / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def run(self, *argv: str, trouble: Trouble = WELL) -> Done:
        """A command under `trouble`; the server is well afterwards."""
        timers: list[threading.Timer] = []

        def begin() -> None:
            self.server.fault = trouble.fault
            if trouble.fills_disk:
                _fill(self.outbox)
            if trouble.for_s is not None:
                timers.append(threading.Timer(trouble.for_s, self.mend))
                timers[0].start()

        self.server.at_first_points(begin) if trouble.from_results else begin()
        variables = {"MLFLOW_TRACKING_PASSWORD": trouble.token} if trouble.token else {}
        try:
            return self.clone.run(*argv, check=False, **variables)
        finally:
            for timer in timers:
                timer.cancel()
                timer.join()
            self.mend()

    def mend(self) -> None:
        """No fault any more."""
        self.server.fault = Fault.NONE
        with contextlib.suppress(FileNotFoundError):
            (self.outbox / FILLER).unlink()

    def predict(self, trouble: Trouble) -> Done:
        """A mask of one stack."""
        mask = self.clone.root.parent / "mask.tif"
        return self.run("capillary", "predict", STACK, str(mask), "--spacing-um", "2,1,1", "--force", trouble=trouble)


FILLER = ".filler"  # no run's name


def _fill(folder: Path) -> None:
    with (folder / FILLER).open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(1 << 12))


@pytest.fixture
def project(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, server: FaultyServer, request: pytest.FixtureRequest
) -> Project:
    """One per test, with a seed of its own: trainings of equal inputs are one on a server."""
    clone = prepared_clone(tmp_path_factory, tmp_path / "clone")
    # an untrained network predicts hardly a voxel above the threshold, which is soon evaluated
    quick = {"max_epochs": EPOCHS, "validation_interval": EPOCHS, "learning_rate": "0.000001"}
    quick["seed"] = crc32(request.node.name.encode())
    clone.set_params({f"training.{key}": f"{value}" for key, value in quick.items()})
    return Project(clone, server)


@pytest.fixture
def small_outbox(project: Project, request: pytest.FixtureRequest) -> Iterator[None]:
    """A disk of 4 MB for the records, in a row that fills it."""
    if "disk" not in request.node.callspec.id:
        yield
        return
    project.outbox.mkdir(parents=True, exist_ok=True)
    argv = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(project.outbox)]
    mounted = os.geteuid() == 0 and subprocess.run(argv, check=False, capture_output=True).returncode == 0
    require(mounted, "the right to mount a small disk")
    yield
    subprocess.run(["umount", "--lazy", str(project.outbox)], check=True)


@pytest.mark.usefixtures("small_outbox")
@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_no_fault_of_a_server_costs_a_run(row: Row, project: Project, real_server: str, server_folder: Path) -> None:
    """Exit codes and words; after `sync` the server's points are those of the record; then nothing runs.

    On the way no login is written anywhere, nor given on a command line.
    """
    with watching_command_lines() as seen:
        _assert_all_arrives(row, project, real_server)
        if not BY_HAND:
            assert project.run("capillary", "report").returncode == 0
    assert seen == set()
    assert leaks_in(project.clone.root, server_folder) == []


def _assert_all_arrives(row: Row, project: Project, real_server: str) -> None:
    client = mlflow.MlflowClient(real_server)
    before = {run.info.run_id for run in _runs(client)}
    for stage, trouble in (("train", row.train), ("evaluate", row.evaluate)):
        done = project.run("dvc", "repro", stage, trouble=trouble)
        if trouble.fills_disk:
            _assert_full(done)
            done = project.run("dvc", "repro", stage)
        _assert_kept(project, done, trouble)
    _assert_predicts(project, project.predict(row.predict), row)
    waiting = _points_waiting(project.outbox)
    synced = project.run("capillary", "sync")
    assert synced.returncode == 0, _said(synced)
    assert list(spools_in(project.outbox)) == []
    made = {run.info.run_name: run for run in _runs(client) if run.info.run_id not in before}
    assert {name: run.info.status for name, run in made.items()} == {"dice_ce-0": "FINISHED", "evaluation": "FINISHED"}
    points = {name: _points(client, run) for name, run in made.items()}
    assert waiting <= points["dice_ce-0"] + points["evaluation"]
    _assert_once(project.clone, points)
    again = project.run("dvc", "repro")
    assert (again.returncode, project.clone.ran(again.stdout)) == (0, []), _said(again)
    _assert_predicts(project, project.predict(row.predict), row)


@pytest.mark.skipif(not BY_HAND, reason="four trainings of real processes: ./just test-chaos")
@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.SLOW, Fault.DEAD, Fault.REFUSING])
def test_ctrl_c_is_obeyed_within_the_grace(project: Project, tmp_path: Path, fault: Fault) -> None:
    """In mid-epoch: the stage ends by itself with its checkpoint, and the repeated command resumes."""
    project.clone.set_params({"training.max_epochs": "40"})
    project.server.fault, log = fault, tmp_path / "log"
    process = project.clone.start("dvc", "repro", "train", log=log)
    while "epoch 2/40" not in log.read_text():
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    dvc = psutil.Process(process.pid)
    for each in (dvc, *dvc.children(recursive=True)):  # as a terminal does
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGINT)
    process.wait(120)
    assert "exited with 130" in log.read_text(), log.read_text()
    project.mend()
    again = project.run("dvc", "repro", "train")
    assert again.returncode == 0, _said(again)
    assert "resuming after epoch" in again.stdout


def _said(done: Done) -> str:
    return f"{done.stdout}\n{done.stderr}"


def _assert_kept(project: Project, done: Done, trouble: Trouble) -> None:
    """The stage ended well, and said what it must."""
    said = " ".join(_said(done).split())
    assert done.returncode == 0, said
    assert trouble.says in said
    assert "Traceback" not in said
    if trouble.waits is not None:
        assert (PUBLISHES in said) is trouble.waits, said


def _assert_full(done: Done) -> None:
    """No room for what is to be published: exit code 6, after the work. The repeated command resumes."""
    assert "the disk is full" in done.stderr
    assert "exited with 6" in done.stderr


def _assert_once(clone: Clone, points: dict[str, Counter[Point]]) -> None:
    """No point is there twice, and the curve of the training is that of its table, an out of the stage."""
    for found in points.values():
        assert set(Counter((key, step) for key, step, _, _ in found.elements()).values()) == {1}
    with (clone.root / "metrics/training/dice_ce/fold_0.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == EPOCHS
    curve = {(int(row["epoch"]), float(row["loss"])) for row in rows}
    assert {(step, value) for key, step, _, value in points["dice_ce-0"] if key == "loss"} == curve
    mean = clone.metrics()["dice_ce"]["dsc"]["mean"]
    assert [value for key, _, _, value in points["evaluation"] if key == "dice_ce.dsc"] == [mean]


def _assert_predicts(project: Project, done: Done, row: Row) -> None:
    """By a network that waits here or that the server gives; else an error that names the server."""
    is_here = any(spools_in(project.outbox))
    assert done.returncode == (0 if is_here else row.refused), _said(done)
    if done.returncode:
        assert project.server.url in done.stderr
        assert "remedy:" in done.stderr


def _runs(client: mlflow.MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("capillary")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def _points_waiting(outbox: Path) -> Counter[Point]:
    records = (record for spool in spools_in(outbox) for record, _ in spool.records())
    return Counter(
        (key, record.step, record.time_ms, value)
        for record in records
        if isinstance(record, PointsRecord)
        for key, value in record.values.items()
    )


def _points(client: mlflow.MlflowClient, run: Run) -> Counter[Point]:
    history = (point for key in run.data.metrics for point in client.get_metric_history(run.info.run_id, key))
    return Counter((point.key, point.step, point.timestamp, point.value) for point in history)
