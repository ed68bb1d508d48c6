"""Entrypoint of the image dvc-runner: become the owner of the mounted checkout, then hand over to supervise.py.

Nobody has to export a uid. The user is the owner of /workspace, so files on the host belong to whom they belonged; the
one further group is the Docker socket's. A checkout that is root's runs as root; no capability is kept either way.
Standard library alone: this runs before anything else does.
"""

import contextlib
import grp
import os
import pwd
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import git_folder

WORKSPACE = Path("/workspace")
SOCKET = Path("/var/run/docker.sock")
HOME = Path("/home/capillary")
NAME = "capillary"
SUPERVISE = Path(__file__).with_name("supervise.py")
USAGE = 2  # as everywhere in docs/exit-codes.md


def refuse(what: str, remedy: str) -> NoReturn:
    """End with one line that says what is missing and what to do."""
    sys.stderr.write(f"error: {what}; remedy: {remedy}\n")
    sys.exit(USAGE)


def require_mounts() -> None:
    """Refuse to start without the checkout or without a daemon to talk to."""
    if not WORKSPACE.is_mount():
        refuse(
            f"no checkout is mounted at {WORKSPACE}",
            f'run docker compose in the checkout, or add --volume "$PWD:{WORKSPACE}"',
        )
    if os.environ.get("DOCKER_HOST", f"unix://{SOCKET}") != f"unix://{SOCKET}":
        return
    if not SOCKET.exists() or not stat.S_ISSOCK(SOCKET.stat().st_mode):
        refuse(
            f"no Docker socket is mounted at {SOCKET}",
            f"add --volume {SOCKET}:{SOCKET}; with compose name the daemon's socket in CAPILLARY_DOCKER_SOCKET",
        )


@contextlib.contextmanager
def owner_of_checkout() -> Iterator[None]:
    """In the block, root reads as the owner of the checkout: it has no right to what is the owner's alone."""
    if os.geteuid() != 0:
        yield
        return
    owner = WORKSPACE.stat()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def make_links(links: Iterable[tuple[Path, Path]]) -> None:
    """Links of this container's own file system, each a path and what it leads to."""
    for link, target in links:
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        except OSError as error:
            refuse(f"the Git folder cannot be linked to {link}: {error.strerror}", f"mount it there: --volume …:{link}")


def require_git() -> None:
    """Make the Git folder findable that the checkout's .git leads to; refuse to start where it is not mounted."""
    with owner_of_checkout():
        folder = git_folder.find(WORKSPACE)
        links = list(git_folder.links(folder, WORKSPACE)) if folder else []
    if os.geteuid() == 0:
        make_links(links)
    with owner_of_checkout():
        missing = git_folder.missing(WORKSPACE)
    if missing and folder and missing.path == folder.common:
        refuse(
            f"{missing.what}, which is not mounted",
            f"set CAPILLARY_GIT_DIR={missing.source} in .env, which docker-compose.yml mounts; "
            f"without compose add --volume {missing.source}:{missing.path}",
        )
    if missing:
        refuse(f"{missing.what}, which is not mounted", f"add --volume {missing.source}:{missing.path}")


def name_of(uid: int, gid: int) -> str:
    """The user's name; Git and getpass want one, so a uid or gid that has none gets an entry."""
    try:
        grp.getgrgid(gid)
    except KeyError:
        with Path("/etc/group").open("a") as groups:
            groups.write(f"{NAME}:x:{gid}:\n")
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        with Path("/etc/passwd").open("a") as users:
            users.write(f"{NAME}:x:{uid}:{gid}::{HOME}:/bin/sh\n")
        return NAME


def as_owner(argv: list[str]) -> list[str]:
    """`argv` run by the owner of the checkout, with the socket's group and no capabilities."""
    owner = WORKSPACE.stat()
    uid, gid = owner.st_uid, owner.st_gid
    name = name_of(uid, gid)
    HOME.mkdir(exist_ok=True)
    os.chown(HOME, uid, gid)
    os.environ.update(HOME=str(HOME), USER=name, LOGNAME=name)
    groups = ["--groups", str(SOCKET.stat().st_gid)] if SOCKET.exists() else ["--clear-groups"]
    drop = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return ["setpriv", "--reuid", str(uid), "--regid", str(gid), *groups, *drop, "--", *argv]


def main(command: list[str]) -> NoReturn:
    """Check what is mounted, change the user if this is root, and continue as supervise.py."""
    require_mounts()
    require_git()
    # no -I: the folder of supervise.py must be on its path
    argv = [sys.executable, "-E", "-s", "-S", str(SUPERVISE), *command]
    if os.geteuid() == 0:
        argv = as_owner(argv)
    os.execvp(argv[0], argv)  # noqa: S606 - argv is a list, there is no shell to mistake it


if __name__ == "__main__":
    main(sys.argv[1:])
