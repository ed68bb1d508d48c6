"""A Ray cluster of several nodes on this machine, in its own process: heads of tests are forks, which Ray's client
does not survive.

    python -m tests.support.clusters.ray_cluster NODES      prints its address; `lose` takes a node away without
    grace, `used` says how many CPUs its tasks have
"""

import atexit
import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

from tests.support.clusters.places import SETTINGS
from tests.support.parts import REPOSITORY, require

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
STORE_BYTES = 80 << 20  # Ray's least


class RayNodes:
    """The cluster. The first node holds what Ray itself needs to know and is never lost."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self._process = process
        self.address = address

    def lose_one(self) -> None:
        """A node and everything on it is gone at once."""
        assert self._ask("lose") == "lost"

    def used_cpus(self) -> float:
        """How many CPUs its tasks have been given."""
        return float(self._ask("used"))

    def _ask(self, word: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def ray_nodes(count: int, cpus: int) -> Iterator[RayNodes]:
    """A cluster of `count` nodes with `cpus` each, gone when the block ends."""
    require(find_spec("ray") is not None, "Ray")
    argv = [sys.executable, "-m", "tests.support.clusters.ray_cluster", str(count), str(cpus)]
    process = subprocess.Popen(
        argv,
        cwd=REPOSITORY,
        env={**os.environ, **QUIET},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    try:
        assert address, "the cluster did not start"
        yield RayNodes(process, address)
    finally:
        process.stdin.close()
        process.wait(timeout=60)


@functools.cache
def shared_nodes() -> RayNodes:
    """Three nodes of one CPU for all tests of this run; CAPILLARY_PLACE=ray finds them."""
    stack = ExitStack()
    atexit.register(stack.close)
    nodes = stack.enter_context(ray_nodes(3, 1))
    SETTINGS["ray"]["RAY_ADDRESS"] = nodes.address
    importlib.import_module("ray")  # so that heads, which are forks, have it
    return nodes


def main(count: int, cpus: int) -> None:
    """Start the cluster and do what the lines on stdin ask for."""
    from ray.cluster_utils import Cluster

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # Ray prints what it has to say of lost nodes
    head = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    others = [cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES) for _ in range(count - 1)]
    answers.write(f"{cluster.address}\n")
    for line in sys.stdin:
        if line == "lose\n":
            cluster.remove_node(others.pop(), allow_graceful=False)
            answers.write("lost\n")
        else:
            answers.write(f"{_used_cpus(cluster.address)}\n")
    cluster.shutdown()


def _used_cpus(address: str) -> float:
    import ray

    ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
    total, free = ray.cluster_resources(), ray.available_resources()
    return total.get("CPU", 0.0) - free.get("CPU", 0.0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
