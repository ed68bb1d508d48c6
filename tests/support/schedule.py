"""Which file of tests is run when, and in how many processes.

The longest file first, so that no process is left with a long one at the end.
"""

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

SECONDS_FILE = Path(__file__).parents[1] / "seconds.json"
RECORD_OPTION = "--record-seconds"
QUICK_OPTION = "--quick"
LEAST_S = 1.0  # shorter ones are not kept
LONG_S = 3.0  # --quick leaves out files that take as long
COMPUTING = "unit"  # the folder of tests that hardly wait


class Schedule:
    """A pytest plugin: orders files by what they took when it was last recorded, and records it again on request."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._records = bool(config.getoption(RECORD_OPTION)) and not hasattr(config, "workerinput")
        self._recorded: dict[str, float] = json.loads(SECONDS_FILE.read_text())
        self._taken: dict[str, float] = defaultdict(float)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Longest files first, unknown ones after them, and at the very end what waits until all others are through.

        The order within a file stays.
        """
        if self._config.getoption(QUICK_OPTION):
            long = {item for item in items if self._recorded.get(_file_of(item.nodeid), 0.0) >= LONG_S}
            self._config.hook.pytest_deselected(items=list(long))
            items[:] = [item for item in items if item not in long]
        items.sort(key=lambda item: (_waits(item), -self._recorded.get(_file_of(item.nodeid), 0.0)))

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> LoadFileScheduling:
        """Whole files, whose tests share fixtures, in the order of the items."""
        config.option.loadscopereorder = False
        return LoadFileScheduling(config, log)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up and teardown count, too."""
        self._taken[_file_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Files that ran replace what was known of them."""
        if self._records:
            kept = {file: round(taken) for file, taken in (self._recorded | self._taken).items() if taken >= LEAST_S}
            SECONDS_FILE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def process_count(config: pytest.Config) -> int:
    """As many as there are cores, and one more for tests that wait for servers, containers and schedulers.

    With two processes, two cores were idle for 30 % of the time of those tests.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if all(COMPUTING in Path(argument).parts for argument in config.args) else cores + 1


def _waits(item: pytest.Item) -> bool:
    return item.get_closest_marker("restarts_daemon") is not None


def _file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]
