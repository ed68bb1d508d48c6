import os
import signal
from collections.abc import Mapping

import pytest

from capillary.launcher.command import run_command
from capillary.lifetimes.stop import Stop


@pytest.mark.usefixtures("default_signals")
def test_a_command_is_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, arguments, environment and exit code; a request to stop that comes while it is planned is kept."""
    ran: list[tuple[str, tuple[str, ...], Mapping[str, str], int]] = []

    def run_stage(name: str, argv: tuple[str, ...], environment: Mapping[str, str], stop: Stop) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        ran.append((name, argv, environment, stop.exit_code))
        return 9

    monkeypatch.setattr("capillary.launcher.run.run_stage", run_stage)
    with pytest.raises(SystemExit) as caught:
        run_command(["toy", "--fold", "1"])
    assert caught.value.code == 9
    assert ran == [("toy", ("--fold", "1"), os.environ, 143)]
