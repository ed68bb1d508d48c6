"""Handlers are set for a block and put back; an ignored signal stays ignored."""

import signal
import subprocess
from collections.abc import Iterator
from types import FrameType

import pytest

from stages.common.lifetimes import signals


def former(_number: int, _frame: FrameType | None) -> None:
    """A handler that does nothing."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The same harmless handler for every request to stop."""
    with signals.handled(dict.fromkeys(signals.STOPS, former)):
        yield


def test_a_signal_means_again_what_it_meant() -> None:
    """Also after an error; one that is ignored is left out."""
    got: list[int] = []
    signals.install({signal.SIGHUP: signal.SIG_IGN})
    assert signals.is_ignored(signal.SIGHUP)
    with signals.handled(signals.heard(lambda number, _frame: got.append(number))):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    with pytest.raises(OSError, match="full"), signals.handled({signal.SIGTERM: signal.SIG_IGN}):
        raise OSError("full")
    assert got == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in signals.STOPS] == [former, former, signal.SIG_IGN]


def test_what_a_library_changes_is_put_back() -> None:
    """For the named signals; a worker's own choice about Ctrl-C is one."""
    with signals.kept([signal.SIGINT]):
        signals.ignore_ctrl_c(3)
        assert signals.is_ignored(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former


def test_a_signal_goes_to_the_whole_group_if_any_is_left() -> None:
    """Most have ended by themselves."""
    with subprocess.Popen(["sh", "-c", "sleep 60; true"], process_group=0) as process:
        signals.signal_group(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    signals.signal_group(process.pid, signal.SIGKILL)
