"""For every tier."""

import os
import signal

import pytest

from tests.support.schedule import RECORD_OPTION, Schedule

# projects that tests make have none of this repository's settings: DVC would report home from each command in them
os.environ["DVC_NO_ANALYTICS"] = "1"
# a shell starts what runs in its background with Ctrl-C ignored, and so would be the commands that tests stop with it
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:
    # tests side by side compute with a thread each; stages get theirs from the launcher
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option of our own."""
    parser.addoption(RECORD_OPTION, action="store_true", help="note in tests/seconds.json what each file took")


def pytest_configure(config: pytest.Config) -> None:
    """The order of files."""
    config.pluginmanager.register(Schedule(config), "capillary-schedule")
