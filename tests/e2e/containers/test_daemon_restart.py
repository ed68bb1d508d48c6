"""The daemon goes away in the middle of a run."""

import re

import pytest

from tests.support.docker.containers import ContainerToy, assert_clean, assert_rerun_ends_well, start_stage
from tests.support.docker.daemon import daemon_process, restart, wait_for_no_other_containers

pytestmark = [pytest.mark.restarts_daemon, pytest.mark.usefixtures("no_run_is_left")]


def test_a_daemon_that_restarts_fails_the_run_and_the_rerun_resumes(toy: ContainerToy) -> None:
    """The failure is said in plain words, and what the stage had saved is there."""
    daemon = daemon_process()
    wait_for_no_other_containers(toy.root, within_s=60)
    run = start_stage(toy, "say_once")
    wait_for_no_other_containers(toy.root, within_s=10)
    restart(daemon)
    output = run.output()
    assert "failed to reproduce 'toy'" in output
    assert "Traceback" not in output
    # the daemon stops its containers first; whether it still tells how they ended is its own affair
    assert re.search(r"Docker daemon (going down|went away)", output), output
    assert_clean(toy)
    assert_rerun_ends_well(toy)
