"""The containers of this project's stages on the daemon: who they are, whose launcher has died, and ending those."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

from capillary.executors.container.daemon import plain_errors
from capillary.executors.sandbox import is_held

STOP_S = 15


@dataclass(frozen=True, kw_only=True)
class Sibling:
    """One container of a stage. `state` is the name of its resume folder, `caller` that of its launcher's folder."""

    id: str
    name: str
    address: str
    state: str
    caller: str
    status: str
    image: str


def siblings(api: docker.APIClient, project: str) -> list[Sibling]:
    """All containers, running or not, of the stages of the project at the daemon's path `project`."""
    with plain_errors("list containers"):
        listed = api.containers(all=True, filters={"label": [f"capillary.project={project}", "capillary.caller"]})
    return [
        Sibling(
            id=entry["Id"],
            name=entry["Names"][0].lstrip("/"),
            address=entry["Labels"]["capillary.address"],
            state=entry["Labels"]["capillary.state"],
            caller=entry["Labels"]["capillary.caller"],
            status=entry["Status"],
            image=entry["Image"],
        )
        for entry in listed
    ]


def orphans(found: list[Sibling], repository: Path) -> Iterator[Sibling]:
    """Those whose launcher has died: nobody holds the lock in its folder."""
    folder = repository / ".capillary" / "sandbox"
    return (each for each in found if not is_held(folder / each.caller))


def end(api: docker.APIClient, sibling: Sibling) -> None:
    """Stop a container, which gives its stage time for a checkpoint, and see it removed."""
    with contextlib.suppress(NotFound), plain_errors_but_gone(f"end {sibling.name}"):
        api.stop(sibling.id, timeout=STOP_S)
    remove(api, sibling.id)


def remove(api: docker.APIClient, container: str) -> None:
    """Remove a container, running or not; one that is gone, or just going, is well."""
    try:
        api.remove_container(container, force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # removal is in progress already
            raise
    with contextlib.suppress(APIError):
        api.wait(container, timeout=STOP_S, condition="removed")


@contextlib.contextmanager
def plain_errors_but_gone(what: str) -> Iterator[None]:
    """As plain_errors, but a container that is gone stays NotFound."""
    try:
        yield
    except NotFound:
        raise
    except APIError:
        with plain_errors(what):
            raise
