"""A head and its job: submitted once, found again, asked to stop, collected, whatever happens to either."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capillary.places.held import held
from capillary.places.lines import parse_job
from capillary.places.outcome import Ended
from capillary.places.slurm.execute import SlurmPlace
from capillary.places.slurm.script import array_name
from capillary.places.slurm.submitted import read_submitted
from capillary.settings import read_settings
from stages.common.errors import CapillaryError
from tests.unit.capillary.places.slurm.conftest import NAME, PENDING, FakeSlurm, Make, Run, done, job, profile


def test_a_job_is_submitted_waited_for_and_collected(
    run: Run, slurm: FakeSlurm, on_question: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its log is shown, its outs are published, its folder is gone; where it ran is said in a line for the runner."""

    def node() -> None:
        (run.folder / "log").write_text("epoch lines\n")
        run.leave()

    on_question(node)
    assert run.execute() == 0
    assert run.published == ["made"]
    assert not run.folder.exists()
    printed = capsys.readouterr().out.splitlines()
    assert "epoch lines" in printed
    last = next(line for line in map(parse_job, reversed(printed)) if line)
    assert (last.job, last.state, last.node, last.retries) == ("4711", "ended", "n2", 0)


def test_a_folder_on_nfs_is_gone_too(
    run: Run, on_question: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a removed file stays in its folder, under another name, as long as it is open: the head's lock."""
    kept: list[Path] = []
    unlink, rmdir = os.unlink, os.rmdir

    def silly(name: Any, *, dir_fd: int | None = None) -> None:
        if Path(name).name != "head.lock":
            return unlink(name, dir_fd=dir_fd)
        (run.folder / "head.lock").rename(run.folder / ".nfs01")
        kept.append(run.folder / ".nfs01")
        return None

    def forget(folder: Any, *, dir_fd: int | None = None) -> None:
        if kept and not _is_open(kept[0]):
            unlink(kept.pop())
        rmdir(folder, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", silly)
    monkeypatch.setattr(os, "rmdir", forget)
    on_question(run.leave)
    assert run.execute() == 0
    assert run.published == ["made"]
    assert not run.folder.exists()


def _is_open(file: Path) -> bool:
    return any(Path(link).exists() and Path(link).samefile(file) for link in Path("/proc/self/fd").iterdir())


def test_the_job_of_a_head_that_died_is_found_again(
    run: Run, slurm: FakeSlurm, on_question: Callable[..., None]
) -> None:
    """Running or over, by the number in its folder or by its name; nothing is submitted twice."""
    on_question(lambda: run.stop.receive(signal.SIGTERM, None))
    assert run.execute() == 143  # the head leaves, as one that is killed
    first = read_submitted(run.folder)
    assert first is not None
    (run.folder / "jobid").unlink()
    slurm.named = [f"4711 {run.folder}", "4712 /elsewhere"]
    run.leave()
    again = Run(run.plan, run.plan.root)
    assert again.execute() == 0
    assert again.published == ["made"]
    assert len(slurm.said("sbatch")) == 1


def test_the_task_of_an_array_is_found_again(run: Run, slurm: FakeSlurm, on_question: Callable[..., None]) -> None:
    """By the array's name and the task's place in it, if the head died before it could note its number."""
    on_question(lambda: run.stop.receive(signal.SIGTERM, None))
    run.execute()
    array = array_name(["f0", run.plan.order.fingerprint])
    (run.folder / "jobid").unlink()
    (run.folder / "array.json").write_text(json.dumps({"name": array, "task": 1}))
    slurm.named = [f"28_0 {run.folder.parent}", f"28_1 {run.folder.parent}"]
    slurm.jobs = [done(stdout=job("RUNNING", node="n1").replace(NAME, array))]
    again = Run(run.plan, run.plan.root)
    on_question(lambda: again.leave())
    assert again.execute() == 0
    assert f"--name={array}" in next(argv for argv in slurm.asked if argv[0] == "squeue")
    assert ["scontrol", "show", "job", "--oneliner", "28_1"] in slurm.asked
    assert len(slurm.said("sbatch")) == 1


def test_a_number_that_slurm_gave_to_another_job_is_not_waited_for(
    run: Run, slurm: FakeSlurm, on_question: Callable[..., None]
) -> None:
    """After a controller that forgot everything."""
    on_question(lambda: run.stop.receive(signal.SIGTERM, None))
    run.execute()
    slurm.jobs = [done(stdout=job("RUNNING", node="n1").replace(NAME, "somebody-s"))]
    again = Run(run.plan, run.plan.root)
    on_question(lambda: again.leave() if len(slurm.said("sbatch")) == 2 else None)
    assert again.execute() == 0
    assert len(slurm.said("sbatch")) == 2


def test_a_job_that_had_failed_is_submitted_again(run: Run, slurm: FakeSlurm, on_question: Callable[..., None]) -> None:
    """Whoever repeats the command wants another attempt; nothing of the previous one is taken for its own."""
    on_question(lambda: run.stop.receive(signal.SIGTERM, None))
    run.execute()
    run.leave(Ended(code=3, node="n1", started=1.0, ended=2.0))
    again = Run(run.plan, run.plan.root)
    seen = []
    on_question(lambda: (seen.append((run.folder / "outs").exists()), again.leave()))
    assert again.execute() == 0
    assert seen[0] is False
    assert len(slurm.said("sbatch")) == 2


def test_a_second_head_is_refused(run: Run, slurm: FakeSlurm) -> None:
    """With the process that waits for the job already."""
    with held(run.folder, "toy@a"), pytest.raises(CapillaryError, match="already waits for the job of toy@a") as caught:
        run.execute()
    assert str(os.getpid()) in str(caught.value.value)
    assert "capillary jobs logs -f toy@a" in caught.value.remedy
    assert slurm.said("sbatch") == []


@pytest.mark.parametrize(
    ("state", "said"),
    [(done(stdout=job("RUNNING", node="n1")), ["--signal=TERM", "--batch", "4711"]), (PENDING, ["4711"])],
)
def test_ctrl_c_lets_a_running_job_checkpoint_and_removes_one_that_waits(
    run: Run, slurm: FakeSlurm, at_once: None, on_question: Callable[..., None], state: object, said: list[str]
) -> None:
    """The mark in its folder keeps it from going back into the queue."""
    slurm.jobs = [state]  # type: ignore[list-item]
    marks = []

    def asked() -> None:
        run.stop.receive(signal.SIGINT, None)
        if slurm.said("scancel"):
            marks.append((run.folder / "stop").exists())
            run.leave(Ended(code=143, node="n1", started=1.0, ended=2.0))

    on_question(asked)
    assert run.execute() == 130
    assert slurm.said("scancel")[0] == said
    assert marks[0]
    assert run.published == []
    assert not run.folder.exists()


def test_ctrl_c_before_the_job_is_known_to_wait_removes_it_from_the_queue(
    run: Run, slurm: FakeSlurm, at_once: None
) -> None:
    """While sbatch runs, for one: a signal does nothing to a job that waits."""
    slurm.jobs = [PENDING, done(stdout=job("CANCELLED"))]
    run.stop.receive(signal.SIGINT, None)
    assert run.execute() == 130
    assert slurm.said("scancel")[-1] == ["4711"]


def test_ctrl_c_twice_cancels_the_job(run: Run, slurm: FakeSlurm, on_question: Callable[..., None]) -> None:
    """Without waiting for its end."""
    on_question(lambda: [run.stop.receive(signal.SIGINT, None) for _ in range(2)])
    assert run.execute() == 130
    assert slurm.said("scancel")[-1] == ["4711"]


def test_a_job_that_slurm_does_not_cancel_keeps_its_folder(
    run: Run, slurm: FakeSlurm, on_question: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A controller that is down ends nothing: the job works on in the folder, and the same command finds it."""
    slurm.refuses = "slurm_load_jobs error: Unable to contact slurm controller"
    on_question(lambda: [run.stop.receive(signal.SIGINT, None) for _ in range(2)])
    assert run.execute() == 130
    assert read_submitted(run.folder) is not None
    assert "Unable to contact slurm controller" in capsys.readouterr().out


def test_outs_that_are_links_are_not_published(run: Run, on_question: Callable[..., None], tmp_path: Path) -> None:
    """A node may be anybody's; the folder stays, to be looked at."""
    secret = tmp_path / "secret"
    secret.write_text("key")

    def node() -> None:
        run.leave()
        (run.folder / "outs/data/out").unlink()
        (run.folder / "outs/data/out").symlink_to(secret)

    on_question(node)
    with pytest.raises(CapillaryError, match="the out data/out of toy@a is a link"):
        run.execute()
    assert run.published == []
    assert run.folder.is_dir()


def test_a_requeued_job_does_not_wait_for_two_minutes(
    run: Run, slurm: FakeSlurm, at_once: None, on_question: Callable[..., None]
) -> None:
    """When it requeued itself; after a lost node Slurm's pause stays, in which locks of the dead node run out."""
    waits = done(stdout=job("PENDING", reason="BeginTime", restarts=1))
    slurm.jobs = [waits, waits, done(stdout=job("RUNNING", node="n2", restarts=1))]

    def node() -> None:
        if len(slurm.jobs) == 2:
            assert slurm.said("scontrol") == []
            (run.folder / "requeued").touch()
        if len(slurm.jobs) == 1:
            run.leave()

    on_question(node)
    assert run.execute() == 0
    assert slurm.said("scontrol") == [["update", "JobId=4711", "StartTime=now"]]


def test_sbatch_gets_the_names_that_the_stage_and_python_need(
    run: Run, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, on_question: Callable[..., None]
) -> None:
    """And their values in its environment, where no process list shows them."""
    monkeypatch.setenv("LC_TEST", "C")
    on_question(run.leave)
    run.execute()
    (argv,) = slurm.said("sbatch")
    exported = next(word for word in argv if word.startswith("--export=")).removeprefix("--export=").split(",")
    assert {"PATH", "HOME", "LC_TEST"} <= set(exported)
    assert slurm.environment["LC_TEST"] == "C"


def test_sbatch_gets_the_names_that_only_a_gate_needs(
    make_plan: Make, root: Path, slurm: FakeSlurm, on_question: Callable[..., None]
) -> None:
    """A gate that asks servers reaches them through a proxy; its training with the embedded store needs no network."""
    access = make_plan().access.model_copy(update={"network": "tracking", "env": ("https_proxy",)})
    run = Run(make_plan("data/in.txt", fingerprint="0123456789abcdef", access=access), root)
    place = SlurmPlace(read_settings(root, {"https_proxy": "http://proxy:3128"}), profile())
    run.place = place
    place.take_gates([dataclasses.replace(run.plan, needs_network=True)])
    on_question(run.leave)
    assert run.execute() == 0
    (argv,) = slurm.said("sbatch")
    assert "https_proxy" in next(word for word in argv if word.startswith("--export=")).split(",")
