"""A pytest plugin for the run that learns: notes each test's name, seconds and outcome, and tells coverage its name."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

NOTES = "MUTANTS_NOTES"  # the variable that names the file
_seconds: dict[str, float] = {}
_failed: set[str] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Lines that the test and its fixtures reach are its own; those of fixtures that tests share, the first test's."""
    collector = coverage.Coverage.current()
    if collector is not None:
        collector.switch_context(item.nodeid)
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Set-up and teardown count, too."""
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if report.outcome != "passed":
        _failed.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tests that do not pass without a fault, or skip, are left out: they can tell nothing."""
    if not hasattr(session.config, "workerinput"):
        passed = {name: seconds for name, seconds in _seconds.items() if name not in _failed}
        Path(os.environ[NOTES]).write_text(json.dumps(passed))
