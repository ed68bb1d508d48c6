import os
import signal
import threading
from collections.abc import Callable

import pytest

from stages.common.errors import CapillaryError, ExitCode
from stages.common.monitoring.memory_guard import Crossing, MemoryGuard
from stages.train.resuming.interrupt import Interrupt, listening

CROSSING = Crossing(limit_gb=1.5, measured_gb=1.625)


def _in_a_child(work: Callable[[], int]) -> int:
    """The exit code of a forked process that leaves with what `work` gives; negative when a signal killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _error_of(interrupt: Interrupt) -> CapillaryError:
    assert interrupt.request is not None
    return interrupt.request.error("after epoch 3, step 1")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_noted_and_the_former_handler_comes_back(number: signal.Signals, code: int) -> None:
    """The step at hand goes on; the exit code is the shell's."""
    before = signal.getsignal(number)
    with listening() as interrupt:
        assert interrupt.received is None
        assert not interrupt.asked
        assert interrupt.request is None
        os.kill(os.getpid(), number)
        assert interrupt.received is number
        assert interrupt.asked
        assert _error_of(interrupt).code == code
    assert signal.getsignal(number) is before


def test_the_former_handlers_come_back_after_an_error() -> None:
    """A failed training must not leave a process that ignores SIGTERM."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(OSError, match="full"), listening():
        raise OSError("full")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_the_second_ctrl_c_does_not_wait() -> None:
    """Who presses twice means it."""
    with listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_repeated_sigterm_still_leaves_time_for_the_checkpoint(first: signal.Signals) -> None:
    """A scheduler repeats SIGTERM; only the second Ctrl-C ends the training before its checkpoint is written."""

    def work() -> int:
        with listening() as interrupt:
            for number in (first, signal.SIGTERM, signal.SIGTERM):
                os.kill(os.getpid(), number)
            return _error_of(interrupt).code

    assert _in_a_child(work) == 143


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_error_of_a_signal_names_it_the_place_and_how_to_resume(number: signal.Signals, code: int) -> None:
    """A user reads that nothing is lost; a shell reads which signal it was."""
    interrupt = Interrupt()
    interrupt.received = number
    error = _error_of(interrupt)
    assert error.code == code
    assert isinstance(error.code, ExitCode)
    assert f"{number.name} after epoch 3, step 1" in error.what
    assert "checkpoint is written" in error.what
    assert "the same command" in error.remedy


def test_the_error_of_the_memory_guard_has_its_numbers_and_how_to_resume() -> None:
    """The guard asks to stop as a signal does; its error has its own exit code."""
    guard = MemoryGuard()
    interrupt = Interrupt(guard)
    assert not interrupt.asked
    guard.crossing = CROSSING
    assert interrupt.asked
    assert interrupt.crossing is CROSSING
    error = _error_of(interrupt)
    assert error.code is ExitCode.MEMORY
    assert "after epoch 3, step 1; the checkpoint is written" in error.what
    assert "the limit is 1.5 GB" in str(error.value)
    assert "the same command" in error.remedy


def test_a_signal_is_the_reason_when_the_memory_guard_asked_as_well() -> None:
    """Who sent the signal expects its exit code."""
    guard = MemoryGuard()
    guard.crossing = CROSSING
    interrupt = Interrupt(guard)
    interrupt.received = signal.SIGTERM
    assert _error_of(interrupt).code is ExitCode.TERMINATED


def test_a_crossed_memory_limit_asks_to_stop_within_the_block() -> None:
    """The limit that the training is given is the one that is watched."""
    with listening(memory_abort_gb=0.001) as interrupt:
        while not interrupt.asked:
            threading.Event().wait(0.01)
    assert interrupt.received is None
    assert interrupt.crossing is not None
    assert interrupt.crossing.limit_gb == 0.001
