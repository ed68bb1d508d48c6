"""Requests to stop an experiment: each is passed on, the first decides the exit code, and nothing stays behind."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from capillary.lifetimes.interrupts import passing_on

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def harmless(_number: int, _frame: FrameType | None) -> None:
    """A handler that does nothing."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The same harmless handler for every signal, whatever this process was started with."""
    former = {number: signal.signal(number, harmless) for number in SIGNALS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_request_stops_and_gives_the_code_of_a_shell(number: signal.Signals, code: int) -> None:
    """Ctrl-C, a scheduler's SIGTERM, a closed terminal."""
    stops: list[None] = []
    with passing_on(lambda: stops.append(None)) as asked:
        assert asked.code == 0
        signal.raise_signal(number)
    assert asked.code == code
    assert len(stops) == 1


def test_every_further_request_is_passed_on_under_the_first_code() -> None:
    """The second one kills; the exit code tells what ended the experiment first."""
    stops: list[int] = []
    with passing_on(lambda: stops.append(asked.code)) as asked:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
    assert stops == [143, 143, 143]


def test_handlers_are_put_back_also_after_an_error() -> None:
    """After the block a signal means what it meant before."""

    def fail() -> None:
        with passing_on(lambda: None):
            assert harmless not in [signal.getsignal(number) for number in SIGNALS]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [signal.getsignal(number) for number in SIGNALS] == [harmless] * 3


def test_a_signal_that_is_ignored_stays_so() -> None:
    """`nohup` sets SIGHUP aside; the run must outlive its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stops: list[None] = []
    with passing_on(lambda: stops.append(None)) as asked:
        signal.raise_signal(signal.SIGHUP)
    assert (stops, asked.code) == ([], 0)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
