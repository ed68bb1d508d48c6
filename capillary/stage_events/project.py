"""By what others know a project: its address at its Git host, which all clones share; else its folder's name."""

import subprocess
from pathlib import Path

from stages.common.text import without_login

_GIT_TIMEOUT_S = 2


def project_name(root: Path) -> str:
    """The address, or the name of the folder."""
    return address_of(root) or root.name


def address_of(root: Path) -> str:
    """The address that others have too; empty if there is none."""
    return shared_address(_git(root, "config", "--get", "remote.origin.url"))


def commit_of(root: Path) -> str:
    """The commit that is checked out; empty if there is none."""
    return _git(root, "rev-parse", "HEAD")


def shared_address(url: str) -> str:
    """A repository's address as a URI without a login; empty for a folder of this machine, which others do not have."""
    host, colon, path = url.partition(":")
    if "://" not in url and colon and "/" not in host:  # git@host:alice/vessels.git
        return f"ssh://{host.rpartition('@')[2]}/{path}"
    return without_login(url) if "://" in url and not url.startswith("file:") else ""


def _git(root: Path, *words: str) -> str:
    """Git's output; empty without a repository or without Git."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, check=False, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
