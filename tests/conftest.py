"""For every tier."""

import gc
import logging
import os
import signal
from collections.abc import Generator

import hypothesis
import pytest

from stages.common.program.console import console
from stages.common.program.messages import print_messages
from tests.support.schedule import QUICK_OPTION, RECORD_OPTION, Schedule, process_count

# projects that tests make have none of this repository's settings: DVC would report home from each command in them
os.environ["DVC_NO_ANALYTICS"] = "1"
# A shell starts what runs in its background with Ctrl-C ignored, nohup with hang-ups, and so would be the commands that
# tests stop with them. What a process handles, its children do not ignore.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
# how long an example takes says how busy the machine is
hypothesis.settings.register_profile("capillary", deadline=None)
hypothesis.settings.load_profile("capillary")
if "PYTEST_XDIST_WORKER" in os.environ:
    # tests side by side compute with a thread each; stages get theirs from the launcher
    os.environ.setdefault("OMP_NUM_THREADS", "1")


class _Formatted(logging.Handler):
    """In place of pytest's handlers: no record is printed, and one that cannot be formatted fails its test."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()


logging.getLogger().addHandler(_Formatted())


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our own options."""
    parser.addoption(RECORD_OPTION, action="store_true", help="note in tests/seconds.json what each file took")
    parser.addoption(QUICK_OPTION, action="store_true", help="leave out files that take long by tests/seconds.json")


def pytest_configure(config: pytest.Config) -> None:
    """The order of files."""
    config.pluginmanager.register(Schedule(config), "capillary-schedule")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `--numprocesses logical` means."""
    return process_count(config)


def pytest_runtest_teardown() -> None:
    """What a program chose for its whole life ends with the test that ran it in this process."""
    console.stderr = False
    print_messages("info", "text")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end, so Python need not search it for garbage.

    It would do so again and again while modules are imported: a third of the CPU time of collecting the unit tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
