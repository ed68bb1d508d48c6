"""Ways to end a run in containers. Each time: no container left, no half-written out, and the rerun ends well."""

import os
import random
import signal
import time

import psutil
import pytest
from docker.errors import APIError

from tests.support.chaos import rounds
from tests.support.docker.containers import (
    ContainerToy,
    Run,
    assert_clean,
    assert_rerun_ends_well,
    client,
    start_stage,
    whole,
)

pytestmark = pytest.mark.usefixtures("no_run_is_left")


# SIGINT to the launcher alone: tests/integration/places/test_contract.py
@pytest.mark.parametrize(
    ("victim", "number"), [("dvc", signal.SIGINT), ("dvc", signal.SIGTERM), ("launcher", signal.SIGTERM)]
)
def test_a_request_to_stop_reaches_the_stage(toy: ContainerToy, victim: str, number: signal.Signals) -> None:
    """The stage is asked once, saves its state, and the rerun finds what it saved.

    Ctrl-C goes to the whole foreground group; a SIGTERM to DVC alone ends it, which the launcher notices.
    """
    run = start_stage(toy, "say_once")
    if victim == "launcher":
        launcher = run.launcher()
        assert launcher is not None
        launcher.send_signal(number)
    elif number == signal.SIGINT:
        os.killpg(run.dvc.pid, number)
    else:
        run.dvc.send_signal(number)
    output = run.output()
    assert output.count("asked by") == 1, output
    if victim == "launcher":
        assert f"exited with {128 + number}" in output
    assert_clean(toy)
    assert "saved before: True" in assert_rerun_ends_well(toy)


@pytest.mark.parametrize("victim", ["dvc", "launcher"])
def test_a_killed_caller_takes_its_stage_along(toy: ContainerToy, victim: str) -> None:
    """A stage and a program that ignore every request are killed after the grace period."""
    run = start_stage(toy, "ignore_once", CAPILLARY_GRACE_S="3")
    launcher = run.launcher()
    assert launcher is not None
    os.kill(run.dvc.pid if victim == "dvc" else launcher.pid, signal.SIGKILL)
    assert_clean(toy)
    run.output()
    assert_rerun_ends_well(toy)


def test_a_launcher_killed_before_its_container_starts_leaves_none(toy: ContainerToy) -> None:
    """A container that was made and never started does not remove itself."""
    toy.set("work", 2)
    run = Run(toy)
    while not toy.containers():
        assert run.dvc.poll() is None, run.output()
    launcher = run.launcher()
    assert launcher is not None
    launcher.kill()
    run.output()
    assert_clean(toy)
    assert_rerun_ends_well(toy)


def test_a_killed_container_is_reported(toy: ContainerToy) -> None:
    """`docker kill`: exit code 137, the previous outs are put back."""
    run = start_stage(toy, "hang_once")
    (container,) = toy.containers()
    client().api.kill(container["Id"])
    output = run.output()
    assert "exited with 137" in output
    assert "killed from outside (docker kill" in output
    assert_clean(toy)
    assert toy.parts() == whole(1)
    assert_rerun_ends_well(toy)


def test_a_stage_that_ran_out_of_memory_is_told_its_limit(toy: ContainerToy) -> None:
    """The message names the limit and where it stands."""
    toy.set("eat_once", 2)
    done = toy.repro()
    output = done.stdout + done.stderr
    assert "exited with 137" in output
    assert "0.25" in output
    assert "memory_gb" in output
    assert_clean(toy)
    assert toy.parts() == whole(1)
    assert_rerun_ends_well(toy)


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(toy: ContainerToy) -> None:
    """SIGKILL to DVC, to the launcher or to the stage's container; each time the rerun ends with the right result."""
    draw = random.Random(2026)
    toy.set("work", 2)
    started = time.monotonic()
    assert_rerun_ends_well(toy)
    usual_s = time.monotonic() - started
    kinds = ["dvc", "launcher", "container"]
    victims = draw.sample(kinds * rounds(1, by_hand=7), k=rounds(3, by_hand=20))
    times = 2
    while victims:
        times += 1
        toy.set("work", times)
        run = Run(toy)
        moment_s = draw.uniform(0.1, usual_s)
        time.sleep(moment_s)
        killed = _kill(victims[-1], toy, run)
        run.output()
        story = f"{victims[-1]}, {moment_s:.2f} s after the start, {len(victims)} to go, killed: {killed}"
        assert toy.left() == [], story
        parts = toy.parts()
        # DVC itself removes a previous out, file by file, before it starts a stage; killed right then it leaves the
        # rest
        removing = victims[-1] == "dvc" and parts is not None and parts.items() <= whole(times - 1).items()
        assert removing or parts in (None, whole(times - 1), whole(times)), story
        assert_rerun_ends_well(toy, times)
        if killed:
            victims.pop()
        else:
            usual_s = moment_s  # it had ended by itself: the machine has less to do than before


def _kill(victim: str, toy: ContainerToy, run: Run) -> bool:
    """Kill `victim` as soon as it is there; False when the run ended before."""
    while run.dvc.poll() is None:
        try:
            if victim == "dvc":
                run.dvc.kill()
                return True
            if victim == "launcher" and (launcher := run.launcher()):
                launcher.kill()
                return True
            if victim == "container" and (containers := toy.containers()):
                client().api.kill(containers[0]["Id"])
                return True
        except (psutil.NoSuchProcess, APIError):
            pass  # it does not run yet, or any more
        time.sleep(0.02)
    return False
