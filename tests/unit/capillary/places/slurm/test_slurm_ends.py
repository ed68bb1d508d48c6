"""Jobs that end without a result: why, whether they are submitted again, and where."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.places.outcome import Ended, read_ended
from capillary.places.slurm import head
from stages.common.errors import CapillaryError, ExitCode
from tests.unit.capillary.places.slurm.conftest import PENDING, WELL, FakeSlurm, Run, done, job


@pytest.mark.parametrize(
    ("state", "words", "code"),
    [
        ("OUT_OF_MEMORY", "raise memory_gb", ExitCode.MACHINE),
        ("TIMEOUT", "raise warn_s or time", ExitCode.MACHINE),
        ("CANCELLED", "it resumes", ExitCode.TERMINATED),
        ("FAILED", "does not see the project's folder", ExitCode.MACHINE),
    ],
)
def test_an_end_without_a_word_of_the_job_is_explained(
    run: Run, slurm: FakeSlurm, at_once: None, state: str, words: str, code: int
) -> None:
    """With Slurm's word, the log and what to do."""
    slurm.jobs = [done(stdout=job(state))]
    with pytest.raises(CapillaryError) as caught:
        run.execute()
    assert words in caught.value.remedy
    assert (caught.value.value, caught.value.code) == (state, code)
    assert not run.folder.exists()


def test_a_result_that_nfs_shows_late_is_not_removed(
    run: Run, slurm: FakeSlurm, at_once: None, on_question: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was looked for in vain stays missing for up to a minute there, or until its folder is opened."""
    read, listdir, opened = read_ended, os.listdir, []

    def listed(folder: Path) -> list[str]:
        opened.append(folder)
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", listed)
    monkeypatch.setattr(head, "read_ended", lambda folder: read(folder) if folder in opened else None)
    slurm.jobs = [done(stdout=job("COMPLETED"))]
    on_question(run.leave)
    assert run.execute() == 0
    assert run.published == ["made"]


def test_a_job_that_a_node_took_with_it_is_submitted_again(
    run: Run, slurm: FakeSlurm, at_once: None, on_question: Callable[..., None]
) -> None:
    """Where the cluster does not requeue by itself."""
    slurm.jobs = [done(stdout=job("NODE_FAIL")), done(stdout=job("NODE_FAIL")), done(stdout=job("RUNNING", node="n2"))]
    on_question(lambda: run.leave() if len(slurm.said("sbatch")) > 1 else None)
    assert run.execute() == 0
    assert len(slurm.said("sbatch")) == 2


def full(node: str) -> Ended:
    return Ended(code=ExitCode.MACHINE, node=node, started=1.0, ended=2.0, full="/scratch")


def test_a_job_whose_node_has_a_full_disk_is_submitted_again_without_it(
    run: Run, slurm: FakeSlurm, at_once: None, on_question: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the node's program says so, or its script could not even unpack what it brings along."""
    slurm.jobs = [
        done(stdout=job("RUNNING", node="n1")),
        *[done(stdout=job("FAILED", node="n2", code=28))] * 2,
        PENDING,
    ]

    def node() -> None:
        if len(slurm.scripts) != 2:
            run.leave(full("n1") if len(slurm.scripts) == 1 else WELL)

    on_question(node)
    assert run.execute() == 0
    assert run.published == ["made"]
    excluded = [[line for line in script.splitlines() if "--exclude" in line] for script in slurm.scripts]
    assert excluded == [[], ["#SBATCH --exclude=n1"], ["#SBATCH --exclude=n1,n2"]]
    printed = capsys.readouterr().out
    assert "the disk of node n1 is full (/scratch)" in printed
    assert "the disk of node n2 is full ($SLURM_TMPDIR, $TMPDIR or /tmp)" in printed


@pytest.mark.parametrize(("others", "tries"), [(1, 2), (9, 5)])
def test_nodes_with_full_disks_are_named_when_none_is_left(
    run: Run, slurm: FakeSlurm, on_question: Callable[..., None], others: int, tries: int
) -> None:
    """Slurm rejects a job that no node is left for; and nobody fills the disks of a whole cluster."""
    slurm.rejects = lambda script: script.count("--exclude") > 0 and len(slurm.scripts) > others
    on_question(lambda: run.leave(full(f"n{len(slurm.scripts)}")))
    with pytest.raises(CapillaryError, match="found the disk of every node full that it ran on: n1") as caught:
        run.execute()
    assert (caught.value.file, caught.value.code) == ("/scratch", ExitCode.MACHINE)
    assert "--tmp=" in caught.value.remedy
    assert len(slurm.scripts) == tries
    assert not run.folder.exists()


def test_ctrl_c_ends_a_job_that_found_a_full_disk(run: Run, slurm: FakeSlurm, on_question: Callable[..., None]) -> None:
    """It is not submitted again."""

    def node() -> None:
        run.stop.receive(signal.SIGINT, None)
        run.leave(full("n1"))

    on_question(node)
    assert run.execute() == 130
    assert len(slurm.scripts) == 1
