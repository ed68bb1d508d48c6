"""DVC's config.local for a worktree: the user's own settings and credentials, and the cache that they have already."""

import configparser
import io
import os
from pathlib import Path

_OWN = "config.local"


def local_config(dvc_folder: Path, cache_dir: Path) -> bytes:
    """What makes a project elsewhere use the remotes and the cache of the one whose .dvc is `dvc_folder`."""
    config = _parser()
    file = dvc_folder / _OWN
    if file.is_file():
        config.read_string(file.read_text(encoding="utf-8"))
    _copy_relative_urls(dvc_folder, config)
    for section, option, value in (("cache", "dir", str(cache_dir)), ("core", "autostage", "false")):
        if not config.has_section(section):
            config.add_section(section)
        config.set(section, option, value)
    text = io.StringIO()
    config.write(text)
    return text.getvalue().encode()


def _copy_relative_urls(dvc_folder: Path, config: configparser.RawConfigParser) -> None:
    """Make remotes absolute that are folders named from `dvc_folder`, also those of the committed config."""
    committed = _parser()
    if (dvc_folder / "config").is_file():
        committed.read_string((dvc_folder / "config").read_text(encoding="utf-8"))
    for source in (committed, config):
        for section in source.sections():
            url = source.get(section, "url", fallback="")
            if not url or "://" in url or Path(url).is_absolute() or config.get(section, "url", fallback=url) != url:
                continue
            if not config.has_section(section):
                config.add_section(section)
            config.set(section, "url", os.path.normpath(dvc_folder.resolve() / url))


def _parser() -> configparser.RawConfigParser:
    config = configparser.RawConfigParser(strict=False)
    config.optionxform = str  # type: ignore[assignment,method-assign]  # DVC's names as they are
    return config
