import os
import signal

import pytest

from stages.train.resuming.interrupt import listening


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_noted_and_the_former_handler_comes_back(number: signal.Signals, code: int) -> None:
    """The step at hand goes on; the exit code is the shell's."""
    before = signal.getsignal(number)
    with listening() as interrupt:
        assert interrupt.received is None
        os.kill(os.getpid(), number)
        assert interrupt.received is number
        assert interrupt.exit_code() == code
    assert signal.getsignal(number) is before


def test_the_second_ctrl_c_does_not_wait() -> None:
    """Who presses twice means it."""
    with listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
