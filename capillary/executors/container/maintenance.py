"""`capillary ps`, `capillary build` and `capillary clean`: the containers, images and leftovers of one project."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import docker
from docker.errors import APIError
from rich.table import Table

from capillary.executors.container.daemon import connect, plain_errors
from capillary.executors.container.execute import ContainerExecutor
from capillary.executors.container.images import ensure_built, is_built
from capillary.executors.container.place import find_place
from capillary.executors.container.siblings import Sibling, end, orphans, siblings
from capillary.executors.sandbox import sweep
from capillary.lifetimes.stop import Stop
from capillary.planning.access import ACCESS_FILE, read_access
from capillary.project_folder import require_project
from capillary.publishing.leftovers import remove_resume_folders, remove_torn
from capillary.settings import ExecutorName, Settings, read_settings
from capillary.yaml_file import read_yaml
from stages.common.errors import ServiceError, UsageError
from stages.common.program.console import plain, print_answer, print_table
from stages.common.program.messages import get_logger

log = get_logger(__name__)


def show_siblings(repository: Path) -> None:
    """Print a table of the project's containers."""
    require_project(repository)
    settings = read_settings(repository)
    api = connect(settings.variables, settings.executor)
    found = _of_project(api, repository)
    if not found:
        print_answer("no stage of this project runs in a container")
        return
    lost = {each.id for each in orphans(found, repository)}
    table = Table("stage", "container", "status", "image", "launcher")
    for each in sorted(found, key=lambda sibling: sibling.address):
        cells = (each.address, each.name, each.status, each.image, "gone" if each.id in lost else "runs")
        table.add_row(*map(plain, cells))
    print_table(table)


def build_images(repository: Path, stages: Sequence[str], stop: Stop) -> None:
    """Build the environment images of `stages`, or of all, that the daemon lacks."""
    known = list(read_yaml(repository / ACCESS_FILE))
    if unknown := [name for name in stages if name not in known]:
        raise UsageError(
            f"there is no stage {unknown[0]}",
            file=ACCESS_FILE,
            remedy=f"name some of {', '.join(known)}, or none for all",
        )
    settings = read_settings(repository)
    executor = ContainerExecutor(settings)
    api = connect(settings.variables, settings.executor)
    for name in stages or known:
        environment = executor.environment(repository, name, read_access(repository, name))
        if is_built(api, environment.tag):
            log.info(f"{environment.tag} is there")
        ensure_built(api, environment, settings.images, repository / ".capillary", stop)
        if stop.asked is not None:
            return


def clean(repository: Path, *, state: bool, images: bool, used: Collection[str] = ()) -> None:
    """Remove what killed launchers left, and end containers whose launcher has died where a daemon answers.

    `state` also removes the resume folders of runs that never ended (those that run now stay, and those named in
    `used`), `images` the images that this project built and whose files have changed since.
    """
    require_project(repository)
    sweep(repository)
    remove_torn(repository)
    settings = read_settings(repository)
    api = _daemon(settings, required=images)
    in_containers = _end_orphans(api, repository) if api else set()
    if state:
        _remove_state(repository, settings.checkpoint_dir, {*used, *in_containers})
    if images and api:
        _remove_old_images(api, repository)
    log.info("clean")


def _remove_state(repository: Path, name: str, used: Collection[str]) -> None:
    """The resume folders in the project's folder `name`. One outside the project may be that of others as well."""
    states = Path(os.path.normpath(repository / name))
    if states.is_relative_to(repository):
        remove_resume_folders(states, used)
    elif states.is_dir():
        log.warning(f"checkpoints in {states} stay: it is outside the project, and others may keep theirs there")


def _daemon(settings: Settings, *, required: bool) -> docker.APIClient | None:
    """None if no daemon answers and none is asked for."""
    try:
        return connect(settings.variables, settings.executor)
    except ServiceError:
        if required or settings.executor in {ExecutorName.DOCKER, ExecutorName.PODMAN}:
            raise
        log.warning("no Docker daemon answers: leftover containers are not removed")
        return None


def _end_orphans(api: docker.APIClient, repository: Path) -> set[str]:
    """End containers without a launcher; returns the names of the resume folders that the others use."""
    found = _of_project(api, repository)
    lost = list(orphans(found, repository))
    for orphan in lost:
        log.warning(f"ending {orphan.name}, whose launcher has died")
        end(api, orphan)
    return {each.state for each in found if each not in lost}


def _of_project(api: docker.APIClient, repository: Path) -> list[Sibling]:
    return siblings(api, find_place(api).paths.translate(repository))


def _remove_old_images(api: docker.APIClient, repository: Path) -> None:
    executor = ContainerExecutor(read_settings(repository))
    names = list(read_yaml(repository / ACCESS_FILE))
    current = {executor.environment(repository, name, read_access(repository, name)).tag for name in names}
    with plain_errors("list images"):
        labels = ["capillary.environment", f"capillary.project={repository}"]
        listed = api.images(filters={"label": labels})
    for image in listed:
        for tag in image["RepoTags"] or ():
            if tag in current:
                continue
            log.info(f"removing the image {tag}")
            try:
                api.remove_image(tag)
            except APIError as error:
                if error.status_code != 409:  # a container uses it
                    raise
                log.info(f"{tag} stays: a container uses it")
