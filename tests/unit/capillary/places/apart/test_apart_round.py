"""From a head to a node that sees nothing of its disk, and back, without a cluster: the batch script's work by hand."""

import errno
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from capillary.dvc import remote
from capillary.dvc.remote import MOST_BYTES, Remote
from capillary.lifetimes.stop import Stop
from capillary.places import jobs
from capillary.places.apart import node, place
from capillary.places.apart.place import ApartPlace, Mirror, box_of
from capillary.places.collect import collect
from capillary.places.held import held
from capillary.places.job import job_folder
from capillary.places.outcome import CIRCUMSTANCES_FILE, Ended, read_circumstances, read_ended, write_ended
from capillary.places.slurm import queue
from capillary.places.slurm.submitted import _remember
from capillary.planning.plan import StagePlan
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode, ServiceError
from stages.common.runtime import read_order
from tests.unit.capillary.places.slurm.conftest import FakeSlurm, done, job, profile

CONFIG = "[core]\n    no_scm = true\n    remote = lab\n['remote \"lab\"']\n    url = {url}\n"
STAGE = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace

state = Path(json.loads(Path("order.json").read_text())["state_dir"])
print("in", Path.cwd(), flush=True)
if not (state / "saved").exists():
    (state / "saved").write_text("checkpoint")
    sys.exit(3)
Path("data/out").mkdir()
Path("data/out/text").write_text(Path("data/in.txt").read_text() + os.environ["TOY_TOKEN"].upper())
"""
WELL = b'{"code": 0, "node": "n1", "started": 1, "ended": 2}'
Make = Callable[..., StagePlan]


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm()
    monkeypatch.setattr(queue, "_run", fake)
    return fake


@pytest.fixture
def plan(make_plan: Make, root: Path, tmp_path: Path) -> StagePlan:
    """Of a stage that fails at first and resumes from its checkpoint; its data is in DVC's cache."""
    for name, text in {
        "stages/__init__.py": "",
        "stages/toy/__init__.py": "",
        "stages/toy/__main__.py": STAGE,
        ".dvc/config": CONFIG.format(url=tmp_path / "lab"),
        ".env": "TOY_TOKEN=s3cr3t\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    digest = Remote(root).add(root / "data/in.txt")
    plan = make_plan()
    access = plan.access.model_copy(update={"env": ("TOY_*",), "resume": True})
    return make_plan(
        "data/in.txt",
        "stages",
        fingerprint="0123456789abcdef",
        access=access,
        dep_hashes={"data/in.txt": digest, "stages": "code"},
        writable=(plan.state_dir,),
    )


def written(plan: StagePlan) -> ApartPlace:
    """The place, with the job of `plan` written."""
    made = ApartPlace(read_settings(plan.root, {}), profile(files="remote"))
    made.environment_id(plan.root, "toy", plan.access)
    job_folder(plan).mkdir(parents=True, exist_ok=True)
    made.write(plan, job_folder(plan))
    return made


def carry_out(plan: StagePlan, work: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """What the batch script does on a node, where the project is somewhere else; its log is what it prints."""
    with tarfile.open(fileobj=io.BytesIO((job_folder(plan) / "bundle.tar.gz").read_bytes())) as archive:
        archive.extractall(work)
    (work / "job/log").write_text("a node's words\n")
    away = plan.root.rename(plan.root.with_name("hidden"))
    monkeypatch.setenv("TOY_TOKEN", "s3cr3t")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    try:
        return node.run(work, Stop())
    finally:
        away.rename(plan.root)


def test_a_job_goes_to_a_node_and_back(plan: StagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second job resumes from what the first one kept, on a node that never saw it; no secret is in any file."""
    folder = job_folder(plan)
    published = []
    for attempt, code in (("one", 3), ("two", 0)):
        if folder.exists():
            for name in ("ended.json", "log", "attempts/1.json"):
                (folder / name).unlink()
        written(plan)
        assert carry_out(plan, tmp_path / attempt, monkeypatch) == code
        Mirror(plan, folder).catch_up()
        ended = read_ended(folder)
        assert ended is not None
        assert ended.code == code
        assert (folder / "log").read_text() == "a node's words\n"
    assert read_circumstances(folder) is not None
    kept = [file.read_bytes() for place in (folder, tmp_path / "lab") for file in place.rglob("*") if file.is_file()]
    assert not any(b"s3cr3t" in content for content in kept)
    with held(folder, "toy@a"):
        assert collect(plan, folder, ended, lambda work: published.append((work / "data/out/text").read_text())) == 0
    assert published == ["data/in.txtS3CR3T"]
    assert not folder.exists()


def test_results_wait_for_a_remote_that_is_away_for_long(
    plan: StagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour, say: the node removes its folder at the end, and nobody else has what was computed."""
    written(plan)
    with tarfile.open(fileobj=io.BytesIO((job_folder(plan) / "bundle.tar.gz").read_bytes())) as archive:
        archive.extractall(tmp_path / "node")
    job = node.Node(tmp_path / "node")
    (job.folder / "log").write_text("done\n")
    write_ended(job.folder, Ended(code=0, node="n1", started=1.0, ended=2.0))
    push, waits = Remote.push, list[float]()
    monkeypatch.setattr(remote, "time", SimpleNamespace(sleep=waits.append))

    def away(own: Remote, digests: list[str]) -> None:
        if sum(waits) < 1800:
            raise OSError("the remote is away")
        push(own, digests)

    monkeypatch.setattr(Remote, "push", away)
    job.deliver()
    assert Remote(plan.root).read(box_of(job_folder(plan)), "ended.json") is not None


@pytest.mark.parametrize("when", ["fetch", "run"])
def test_a_node_without_space_says_so(
    plan: StagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """At once, not after an hour as for a remote that is away, and without writing to its disk."""
    written(plan)

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((Remote, "pull") if when == "fetch" else (node, "run_job")), full)
    monkeypatch.setattr(node, "write_ended", full)
    assert carry_out(plan, tmp_path / "node", monkeypatch) == ExitCode.MACHINE
    Mirror(plan, job_folder(plan)).catch_up()
    ended = read_ended(job_folder(plan))
    assert ended is not None
    assert (ended.code, ended.full) == (ExitCode.MACHINE, str(tmp_path))


def test_a_stage_that_found_a_full_disk_on_a_node_apart(
    plan: StagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log says so; its checkpoints go to the next node."""
    written(plan)

    def fail(folder: Path, *_: object, **__: object) -> int:
        (folder / "log").write_text("No space left on device")
        state = read_order(folder / "order.json").state_dir
        state.mkdir(parents=True)
        (state / "saved").write_text("checkpoint")
        write_ended(folder, Ended(code=6, node="n1", started=1.0, ended=2.0))
        return 6

    monkeypatch.setattr(node, "run_job", fail)
    assert carry_out(plan, tmp_path / "node", monkeypatch) == ExitCode.MACHINE
    Mirror(plan, job_folder(plan)).catch_up()
    ended = read_ended(job_folder(plan))
    assert ended is not None
    assert ended.full == str(tmp_path)
    assert Remote(plan.root).read(box_of(job_folder(plan)), node.STATE) is not None


def test_a_full_remote_is_not_the_node_s_fault(
    plan: StagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node would meet it, too."""
    written(plan)
    with tarfile.open(fileobj=io.BytesIO((job_folder(plan) / "bundle.tar.gz").read_bytes())) as archive:
        archive.extractall(tmp_path / "node")
    job = node.Node(tmp_path / "node")
    away = ServiceError("DVC's remote does not answer", remedy="-")
    away.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not job.lacks_space(away)


def test_what_a_node_cannot_have_is_refused(plan: StagePlan, make_plan: Make) -> None:
    """Before anything is submitted."""
    outside = make_plan("data/in.txt", "../beside/x.txt", access=plan.access)
    with pytest.raises(CapillaryError, match=r"\.\./beside/x\.txt is outside the project"):
        written(outside)
    embedded = make_plan("data/in.txt", environment={"MLFLOW_TRACKING_URI": "sqlite:////p/mlruns/m.db"})
    with pytest.raises(CapillaryError, match="which a node without a shared disk cannot reach") as caught:
        written(embedded)
    assert "MLFLOW_TRACKING_URI" in caught.value.remedy


def test_results_whose_arrival_was_cut_short_arrive_again(plan: StagePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remote went away after the outs and before the word that the job ended, or the head was killed there."""
    written(plan)
    lab, folder, read = Remote(plan.root), job_folder(plan), Remote.read
    (plan.root / "made").write_text("result")
    lab.push([digest := lab.add(plan.root / "made")])
    lab.write(box_of(folder), "outs.json", json.dumps({"data/out": digest}).encode())
    lab.write(box_of(folder), "ended.json", WELL)

    def away(own: Remote, box: str, name: str, most_bytes: int = 0) -> bytes | None:
        return _away() if name == CIRCUMSTANCES_FILE else read(own, box, name, most_bytes or MOST_BYTES)

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "read", away)
        Mirror(plan, folder).pump()
    assert read_ended(folder) is None
    Mirror(plan, folder).pump()
    assert read_ended(folder) is not None
    assert (folder / "outs/data/out").read_text() == "result"


def test_a_remote_that_is_away_for_long_is_said_once(
    plan: StagePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And again when it is away again."""
    written(plan)
    mirror, read = Mirror(plan, job_folder(plan)), Remote.read
    monkeypatch.setattr(place, "LOOK_S", 0.0)
    for look in (_away, _away, read, _away):
        monkeypatch.setattr(Remote, "read", look)
        mirror.pump()
    assert capsys.readouterr().out.count("the remote does not answer (no route); the job keeps running") == 2


def test_outs_that_a_node_invents_are_not_taken(plan: StagePlan) -> None:
    """Whoever can write to the remote may say anything."""
    written(plan)
    lab, folder = Remote(plan.root), job_folder(plan)
    lab.write(box_of(folder), "ended.json", WELL)
    for outs in (b'{"../../stray": "0"}', b"[]", b"not JSON", b"[" * 100_000, b"\xff"):
        lab.write(box_of(folder), "outs.json", outs)
        with pytest.raises(CapillaryError, match="list of outs"):
            Mirror(plan, folder).catch_up()
        assert read_ended(folder) is None, outs[:20]


def test_capillary_jobs_reaches_a_node_that_sees_no_folder(
    plan: StagePlan, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its request to end is in the mailbox, so that the job does not return to the queue."""
    written(plan)
    _remember(job_folder(plan), 4711)
    jobs.cancel_jobs(plan.repository, ["4711"], every=False)
    assert Remote(plan.root).read(box_of(job_folder(plan)), "stop") == b""
    assert slurm.said("scancel") == [["--signal=TERM", "--batch", "4711"]]
    assert "is asked to checkpoint and end" in capsys.readouterr().out


@pytest.fixture
def told(plan: StagePlan, slurm: FakeSlurm) -> Remote:
    """The mailbox of a job whose head is gone: an attempt, and what it printed."""
    written(plan)
    _remember(job_folder(plan), 4711)
    lab, box = Remote(plan.root), box_of(job_folder(plan))
    lab.write(box, "attempts/1.json", b'{"node": "n1", "started": 1}')
    lab.write(box, "log-1", b"a node's words\n")
    return lab


def test_capillary_jobs_shows_a_job_whose_head_is_gone(
    plan: StagePlan, told: Remote, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node and its log are in the mailbox, and so is its end; the job's folder is its head's alone."""
    folder = job_folder(plan)
    before = sorted(folder.rglob("*"))
    assert (jobs.facts_of(folder).node, jobs.facts_of(folder).state) == ("n1", "running")

    def end(_pause_s: float) -> None:
        told.write(box_of(folder), "log-1", b"a node's words\nthe last ones\n")
        told.write(box_of(folder), "ended.json", WELL)

    monkeypatch.setattr(jobs, "time", SimpleNamespace(sleep=end, monotonic=lambda: 0.0))
    jobs.show_log(plan.repository, "4711", follow=True)
    assert capsys.readouterr().out == "a node's words\nthe last ones\n"
    assert jobs.facts_of(folder).state == "done, not collected yet"
    assert sorted(folder.rglob("*")) == before


def test_capillary_jobs_says_so_when_the_remote_is_away(
    plan: StagePlan, told: Remote, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And shows what it knows."""
    monkeypatch.setattr(Remote, "read", _away)
    assert jobs.facts_of(job_folder(plan)).node is None
    assert "the remote does not answer (no route)" in capsys.readouterr().out


def _away(*_: object) -> NoReturn:
    raise OSError("no route")


def test_a_job_that_ended_while_no_head_was_there_is_collected(
    plan: StagePlan, told: Remote, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm says for minutes that it is over, and the result is in the mailbox: nothing is submitted or removed."""
    told.write(box_of(job_folder(plan)), "ended.json", WELL)
    slurm.jobs = [done(stdout=job("COMPLETED"))]
    for read in (_away, Remote.read):
        with monkeypatch.context() as patch:
            patch.setattr(Remote, "read", read)
            jobs.clean_jobs(plan.repository)
    apart = ApartPlace(read_settings(plan.root, {}), profile(files="remote"))
    apart.environment_id(plan.root, "toy", plan.access)
    with pytest.raises(CapillaryError, match="its outs did not arrive here"):  # as this job has made none
        apart.execute(plan, Stop(), lambda _: None)
    assert slurm.said("sbatch") == []


def test_a_request_to_end_reaches_the_node(plan: StagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made while the job waits: it ends before it begins."""
    written(plan)
    (job_folder(plan) / "stop").touch()
    Mirror(plan, job_folder(plan)).catch_up()
    (job_folder(plan) / "stop").unlink()
    assert carry_out(plan, tmp_path / "node", monkeypatch) == 143
    Mirror(plan, job_folder(plan)).catch_up()
    assert read_ended(job_folder(plan)) is not None
