"""Where this launcher's containers run: on this machine, or next to the container that the launcher is in."""

import os

import docker

from capillary.executors.container.daemon import plain_errors
from capillary.executors.container.host_paths import MountedPaths, SamePaths, mounts_of
from capillary.executors.container.own_container import inspect_own
from capillary.executors.container.spec import ContainerHost


def find_place(api: docker.APIClient) -> ContainerHost:
    """The place, as the daemon tells it."""
    with plain_errors("tell about this container"):
        own = inspect_own(api)
        machine = api.info()
    rootless = "name=rootless" in machine.get("SecurityOptions", ())
    memory_bytes = machine.get("MemTotal") or None
    # a rootless daemon maps root to the caller, and every other user to one that owns nothing
    user = "0:0" if rootless else f"{os.geteuid()}:{os.getegid()}"
    if own is None:
        return ContainerHost(paths=SamePaths(), own_id=None, user=user, memory_bytes=memory_bytes)
    paths = MountedPaths(own["Id"], mounts_of(own))
    return ContainerHost(paths=paths, own_id=own["Id"], user=user, memory_bytes=memory_bytes)
