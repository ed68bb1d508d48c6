from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stays in one process when xdist has several: a file, whose tests share fixtures, and all of containers/.

    One test there restarts the daemon, which would stop the containers of another process.
    """
    for item in items:
        group = item.path.relative_to(HERE).parts[0]
        item.add_marker(pytest.mark.xdist_group(group.removesuffix(".py")))
