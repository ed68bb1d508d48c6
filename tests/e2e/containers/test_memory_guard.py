"""The memory guard's way to the caller: through launcher and DVC, from a plain process and from a container."""

import pytest

from tests.support.clone import TINY, Clone
from tests.support.containers import client


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["process", "docker"])
def test_the_guards_exit_code_reaches_the_caller_and_a_rerun_without_the_limit_ends(
    executor: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stopped by a limit that every training crosses: the message, exit code 8, a checkpoint, then the same command."""
    if executor == "docker":
        client()
    clone = Clone(tmp_path_factory.mktemp(executor) / "clone")
    clone.set_params(TINY)
    clone.run("dvc", "repro", "preprocess")
    where = {"CAPILLARY_EXECUTOR": executor}
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
