import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling


class ContainersTogether(LoadFileScheduling):
    """Hands out whole files, whose tests share fixtures, and all files of containers/ as one.

    A test there restarts the daemon, which would stop the containers of another process's test.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "containers" if "/containers/" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ContainersTogether:
    return ContainersTogether(config, log)
