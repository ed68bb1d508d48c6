"""Signals while a finished stage waits for a server."""

import os
import signal
import threading

import pytest

from stages.common.tracking.stopping import stop_asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_and_means_again_what_it_meant(number: signal.Signals) -> None:
    """No exception: the stage that is done ends well."""
    before = signal.getsignal(number)
    with stop_asked(None) as stopped:
        assert not stopped()
        os.kill(os.getpid(), number)
        assert stopped()
    assert signal.getsignal(number) is before


def test_who_hears_signals_itself_is_asked() -> None:
    """And no handler is replaced; nor from another thread, which may not."""
    before = signal.getsignal(signal.SIGINT)
    with stop_asked(lambda: True) as stopped:
        assert stopped()
        assert signal.getsignal(signal.SIGINT) is before
    answers: list[bool] = []

    def ask() -> None:
        with stop_asked(None) as asked:
            answers.append(asked())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers == [False]
