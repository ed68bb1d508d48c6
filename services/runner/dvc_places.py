"""Refuses what DVC's configuration would lose: a cache or a remote in a folder that ends with this container.

DVC's own reading of its configuration counts, all levels merged (system, global, project, local, and the variables that
move them). The image puts the site cache (DVC's index and hashes) into the checkout by a variable, which wins over
core.site_cache_dir; only another value of that variable can move it out of there.

    python -E -s dvc_places.py
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from entrypoint import WORKSPACE, refuse
from mounts import MOUNTINFO, Mount, mount_of, parse

SITE_CACHE = "site cache"
WORKS_ALWAYS = "copy"
DEFAULT_TYPES = ("reflink", "copy")  # DVC's own


@dataclass(frozen=True)
class DvcPath:
    """A local path of DVC's configuration, under its `key`; `source` is what the host calls it."""

    key: str
    path: str
    source: str


def places(config: Mapping[str, Any], workspace: Path) -> Iterator[DvcPath]:
    """Where `config`, merged and with paths resolved by DVC, has DVC write."""
    remotes = config.get("remote", {})
    if "local" not in config["cache"]:  # the obsolete name of a remote that is the cache
        yield _place("cache.dir", config["cache"].get("dir") or str(workspace / ".dvc" / "cache"), workspace)
    for name, remote in remotes.items():
        if (path := _local(remote["url"])) is not None:
            yield _place(f"remote.{name}.url", path, workspace)
    yield site_cache(config, workspace)


def site_cache(config: Mapping[str, Any], workspace: Path) -> DvcPath:
    """Where DVC keeps its index and hashes: as the variable says, else core.site_cache_dir, else in the system."""
    from dvc.dirs import site_cache_dir

    return _place(SITE_CACHE, site_cache_dir(config["core"].get("site_cache_dir")), workspace)


def _local(url: str) -> str | None:
    """The path that `url` names on this machine, None for a server or another remote (remote://name/…)."""
    if not re.match(r"\w[\w+.-]*://", url):
        return url
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme in {"file", "local"} else None


def _place(key: str, path: str, workspace: Path) -> DvcPath:
    """`path` is a str, or one of DVC's own kinds of it that say how it was written: RelPath, ExpPath (with ~)."""
    real = os.path.realpath(path)
    written = getattr(path, "def_path", None)
    if type(path).__name__ == "RelPath" and not _through_absolute_link(path):
        written = os.path.relpath(real, workspace)
    return DvcPath(key, real, written or real)


def _through_absolute_link(path: str) -> bool:
    """Whether a link on the way of `path` leads to an absolute path, which is then the host's name of it, too."""
    way = [Path(path), *Path(path).parents]
    return any(part.is_symlink() and part.readlink().is_absolute() for part in way)


def lost(place: DvcPath, mounts: list[Mount]) -> bool:
    """Whether what is written to `place` ends with this container."""
    return not mount_of(place.path, mounts).lasts


def links_dangle(config: Mapping[str, Any], cache: DvcPath, workspace: Path, mounts: list[Mount]) -> bool:
    """Whether DVC may link outs to the cache by a path that only this container has.

    DVC's symbolic links are absolute. It takes the first of cache.type that works: a copy always does, a hard link
    within one mount. The host has the path of a cache that is mounted from outside the checkout, if it has no other.
    """
    host_has_it = cache.source == cache.path and not Path(cache.path).is_relative_to(workspace.resolve())
    for kind in config["cache"].get("type") or DEFAULT_TYPES:
        if kind == "symlink":
            return not host_has_it
        if kind == WORKS_ALWAYS:
            return False
        if kind == "hardlink" and mount_of(cache.path, mounts) == mount_of(str(workspace.resolve()), mounts):
            return False
    return False


def refuse_lost(workspace: Path = WORKSPACE, mountinfo: Path = MOUNTINFO) -> None:
    """Refuse to continue where a result would be lost. What is wrong with the configuration itself, DVC says."""
    from dvc.config import Config, ConfigError

    if not (workspace / ".dvc").is_dir():
        return
    try:
        config = Config(str(workspace / ".dvc"))
    except ConfigError:
        return
    mounts = parse(mountinfo.read_text())
    for place in places(config, workspace):
        if lost(place, mounts):
            refuse(
                f"DVC's {place.key} is {place.path}, which is lost with this container, together with what DVC writes "
                f"there",
                f"make the folder on the host, and mount it in the runner with a docker-compose.override.yml that "
                f"holds: {override(place.source, place.path)}; or {instead(place)}",
            )
        if place.key == "cache.dir" and links_dangle(config, place, workspace, mounts):
            refuse(
                f"DVC's cache.type makes links to {place.path}, a cache path that only exists in this container",
                "dvc config --local cache.type reflink,hardlink,copy; or move the cache to a folder outside of the "
                "checkout that has the same path in both (volumes: /data/cache:/data/cache)",
            )


def instead(place: DvcPath) -> str:
    """What else to do than to mount the `place`."""
    if place.key == SITE_CACHE:
        return "remove DVC_SITE_CACHE_DIR from .env: the runner keeps it in the checkout"
    return "choose a folder in the checkout (dvc cache dir, dvc remote modify)"


def override(source: str, target: str) -> str:
    """The compose file that mounts `source` of the host at `target` in the runner."""
    return f'services: {{dvc-runner: {{volumes: ["{source}:{target}"]}}}}'


if __name__ == "__main__":
    refuse_lost()
