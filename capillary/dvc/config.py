"""DVC's configuration, and the file system behind a remote of it. DVC takes half a second to load."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvc.config import Config, ConfigError
from dvc.fs import get_cloud_fs

from stages.common.errors import UsageError


def read_config(root: Path) -> dict[str, Any]:
    """DVC's configuration of the project `root`, of this user and of this machine together."""
    try:
        return dict(Config(str(root / ".dvc"), validate=True))
    except ConfigError as error:
        raise UsageError(f"DVC cannot read its configuration: {error}", remedy="correct .dvc/config") from error


def open_remote(config: Mapping[str, Any], name: str) -> tuple[Any, str]:
    """(the file system, the folder in it) of the remote `name` of `config`."""
    kind, options, folder = get_cloud_fs(config, name=name)
    return kind(**options), folder
