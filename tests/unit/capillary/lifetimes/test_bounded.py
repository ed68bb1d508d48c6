"""Nobody waits for an answer that does not come."""

import threading

import pytest

from capillary.lifetimes.bounded import SilenceError, bounded


def test_the_wait_ends_with_the_limit_or_a_request_to_stop() -> None:
    """Errors cross from the thread as they are."""
    never = threading.Event()
    with pytest.raises(SilenceError, match=r"^no answer in 0\.01 s$"):
        bounded(never.wait, limit_s=0.01)
    with pytest.raises(InterruptedError):
        bounded(never.wait, is_stopped=lambda: True)
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0)
    assert bounded(lambda: 5) == 5
    never.set()
