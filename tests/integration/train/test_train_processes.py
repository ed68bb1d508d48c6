"""One training on two processes, as the stage starts them: the same bits after kills and stops, and clear words."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from stages.common.errors import ExitCode
from stages.common.runtime import Rendezvous
from stages.common.tracking.cards.card import read_card
from tests.integration.train.train_sandbox import Sandbox, make_sandbox
from tests.support.processes import processes_in

CHANGES: dict[str, object] = {"max_epochs": 12, "steps_per_epoch": 5, "batch_size": 3, "validation_interval": 4}
NO_DISK = Path("/sys")  # in which nobody can write, root neither


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A training on two processes that nobody disturbed."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("uninterrupted"), **CHANGES)
    result = sandbox.run(processes=2)
    assert result.returncode == 0, result.stdout + result.stderr
    return sandbox


def _outs(sandbox: Sandbox) -> tuple[str, bytes]:
    card = read_card(sandbox.folder / "models/dice_ce/fold_0.json")
    return card.weights_sha256, (sandbox.folder / "metrics/training/dice_ce/fold_0.csv").read_bytes()


def _workers(sandbox: Sandbox) -> list[psutil.Process]:
    """The two processes that train, rank 0 first."""
    workers = [one for one in processes_in(sandbox.folder) if "spawn_main" in " ".join(one.cmdline())]
    assert len(workers) == 2
    return sorted(workers, key=lambda worker: worker.pid)


def _read_until(process: "subprocess.Popen[str]", prefix: str) -> list[str]:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith(prefix):
            return seen
    raise AssertionError(f"no line begins with {prefix!r}:\n{''.join(seen)}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _finish(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    text = process.stdout.read()
    process.stdout.close()
    process.wait(60)
    return text


def _gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return not alive


def test_a_killed_rank_stops_and_a_killed_supervisor_change_no_bit(uninterrupted: Sandbox, tmp_path: Path) -> None:
    """One training meets all of them, then ends: its bits are those of one that nobody disturbed, and so is its run."""
    sandbox = make_sandbox(tmp_path, **CHANGES)
    _kill_a_rank_then_stop(sandbox)
    _stop_as_a_terminal_does(sandbox)
    _stop_by_the_memory_guard(sandbox)
    _kill_the_supervisor(sandbox)
    result = sandbox.run(processes=2)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "resuming after epoch" in result.stdout
    assert _outs(sandbox) == _outs(uninterrupted)
    (run,) = sandbox.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["processes"] == "2"
    assert len(sandbox.client().search_model_versions("name = 'capillary-dice_ce'")) == 1


def _kill_a_rank_then_stop(sandbox: Sandbox) -> None:
    """Rank 1 killed: all start again. SIGTERM: code 143 and a checkpoint."""
    process = sandbox.start(processes=2)
    _read_until(process, "epoch 2/")  # the checkpoint of the first one is there by then
    os.kill(_workers(sandbox)[1].pid, signal.SIGKILL)
    text = "".join(_read_until(process, "resuming after epoch"))
    assert "rank 1 ended by SIGKILL" in text
    assert "all start again from the checkpoint (1 of 3 times)" in text
    assert "Traceback" not in text
    process.send_signal(signal.SIGTERM)
    text = _finish(process)
    assert process.returncode == 143, text
    assert "stopped by SIGTERM after epoch" in text
    assert "the checkpoint is written" in text
    assert "Traceback" not in text


def _stop_as_a_terminal_does(sandbox: Sandbox) -> None:
    """Ctrl-C sends SIGINT to every process."""
    process = sandbox.start(processes=2)
    _read_until(process, "resuming after epoch")
    workers = _workers(sandbox)
    for each in [process, *workers]:
        each.send_signal(signal.SIGINT)
    text = _finish(process)
    assert process.returncode == 130, text
    assert "stopped by SIGINT after epoch" in text
    assert "Traceback" not in text
    assert _gone(workers)


def _stop_by_the_memory_guard(sandbox: Sandbox) -> None:
    """It counts all of the processes."""
    guarded = sandbox.run(processes=2, memory_abort_gb=0.2)
    assert guarded.returncode == ExitCode.MEMORY, guarded.stdout + guarded.stderr
    assert "the checkpoint is written: the process tree uses more memory than" in guarded.stderr


def _kill_the_supervisor(sandbox: Sandbox) -> None:
    """Nobody stays."""
    process = sandbox.start(processes=2)
    _read_until(process, "epoch ")
    workers = _workers(sandbox)
    process.kill()
    assert _gone(workers), "the workers outlived the process that started them"
    _finish(process)


@pytest.mark.skipif(not NO_DISK.exists(), reason="a Linux kernel's file system")
def test_a_checkpoint_that_cannot_be_written_is_what_the_user_reads(tmp_path: Path) -> None:
    """A request to stop ends with the disk's failure and its code: nobody says that the checkpoint is written."""
    sandbox = make_sandbox(tmp_path, **{**CHANGES, "steps_per_epoch": 100})
    process = sandbox.start(processes=2)
    _read_until(process, "epoch 1/")
    state = sandbox.folder / "state"
    while not (state / "checkpoint.pt").exists():  # that of the first epoch is written next to the second one
        time.sleep(0.05)
    state.rename(sandbox.folder / "lost")
    state.symlink_to(NO_DISK)
    process.send_signal(signal.SIGTERM)
    text = _finish(process)
    assert process.returncode == ExitCode.MACHINE, text
    assert text.count("error: cannot write or read") == 1
    assert "the checkpoint is written" not in text
    assert "start again" not in text


def test_another_number_of_processes_is_said_and_a_foreseen_failure_ends_all_at_once(uninterrupted: Sandbox) -> None:
    """One process continues with what two began. What rank 0 refuses is reported once, with its code."""
    before = _outs(uninterrupted)
    result = uninterrupted.run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 instead of 2 processes from here on" in result.stdout
    assert _outs(uninterrupted) == before

    started = time.monotonic()
    refused = uninterrupted.run(processes=2, fingerprint="e" * 12)
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert refused.stderr.count("the checkpoint belongs to another training") == 1
    assert "start again" not in refused.stdout
    assert "Traceback" not in refused.stderr
    assert time.monotonic() - started < 100


def test_two_processes_train_as_one_does_to_rounding(uninterrupted: Sandbox, tmp_path: Path) -> None:
    """Losses of the first epochs agree; later ones drift apart as rounding does."""
    alone = make_sandbox(tmp_path, **CHANGES)
    assert alone.run().returncode == 0
    one, two = (
        [record["loss"] for record in box.checkpoint()["state"]["history"][:3]] for box in (alone, uninterrupted)
    )
    assert two == pytest.approx(one, rel=1e-3)


def _start_nodes(folder: Path) -> list["subprocess.Popen[str]"]:
    """Two nodes of one training, which share nothing but the folder of its state; node 0 leads."""
    port = _free_port()
    return [
        _node(folder / name).start(
            processes=2,
            nodes=2,
            state_dir=folder / "state",
            rendezvous=Rendezvous(node=number, host="127.0.0.1", port=port, interface="lo"),
        )
        for number, name in enumerate(("leads", "follows"))
    ]


def _node(folder: Path) -> Sandbox:
    return Sandbox(folder=folder) if folder.exists() else make_sandbox(folder, **CHANGES)


def test_a_request_to_any_node_stops_all_and_a_node_that_goes_away_ends_the_others(
    tmp_path: Path, uninterrupted: Sandbox
) -> None:
    """After the last start they end with the bits of two processes on one machine.

    Only node 0 has outs, runs and words.
    """
    _ask_the_other_node_to_stop(tmp_path)
    _lose_the_other_node(tmp_path)
    leads, follows = _start_nodes(tmp_path)
    said, other = "".join(_read_until(leads, "resuming after epoch")) + _finish(leads), _finish(follows)
    assert (leads.returncode, follows.returncode) == (0, 0), said + other
    assert _outs(Sandbox(folder=tmp_path / "leads")) == _outs(uninterrupted)
    assert other == ""
    assert [file for file in (tmp_path / "follows").rglob("*") if file.name in ("fold_0.json", "mlflow.db")] == []


def _ask_the_other_node_to_stop(folder: Path) -> None:
    """The signal of a node that is preempted reaches that node alone: all stop after the same step."""
    leads, follows = _start_nodes(folder)
    seen = "".join(_read_until(leads, "epoch 1/"))
    follows.send_signal(signal.SIGTERM)
    said, other = seen + _finish(leads), _finish(follows)
    assert (leads.returncode, follows.returncode) == (ExitCode.TERMINATED, ExitCode.TERMINATED), said + other
    assert "stopped by SIGTERM" in said
    assert "the checkpoint is written" in said


def _lose_the_other_node(folder: Path) -> None:
    """The exit code says that other nodes may do it."""
    leads, follows = _start_nodes(folder)
    _read_until(leads, "resuming after epoch")
    for process in processes_in(folder / "follows"):
        process.kill()
    said = _finish(leads)
    assert leads.returncode == ExitCode.RANK_LOST, said
    assert "the training lost a process on this node or on another" in said
    _finish(follows)
