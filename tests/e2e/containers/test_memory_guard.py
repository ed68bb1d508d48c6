"""The memory guard's way to the caller from a container: through launcher and DVC."""

import pytest

from tests.support.clone import finished_clone
from tests.support.docker.containers import client


@pytest.mark.slow
def test_the_guards_exit_code_reaches_the_caller_and_a_rerun_without_the_limit_ends(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Stopped by a limit that every training crosses: the message, exit code 8, a checkpoint, then the same command.

    The guard of a plain process is tests/integration/train/test_train_memory_guard.py's, its exit code's way to DVC
    tests/integration/launcher/test_process_executor.py's.
    """
    client()
    clone = finished_clone(tmp_path_factory, tmp_path_factory.mktemp("guard") / "clone")
    clone.set_params({"training.seed": "7"})
    where = {"CAPILLARY_EXECUTOR": "docker"}
    stopped = clone.run("dvc", "repro", "train", check=False, CAPILLARY_MEMORY_ABORT_GB="0.1", **where)
    output = stopped.stdout + stopped.stderr
    assert stopped.returncode != 0
    assert "exited with 8" in output
    assert "stopped by the memory guard after epoch" in output
    assert "the limit is 0.1 GB" in output
    assert list(clone.root.glob(".capillary/state/train@dice_ce-0-*/checkpoint.pt"))
    again = clone.run("dvc", "repro", "train", **where)
    assert "resuming after epoch" in again.stdout
    assert clone.card()["epochs"] == 2
