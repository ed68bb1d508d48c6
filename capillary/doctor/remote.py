"""DVC's default remote: set up, its package installed, and a round trip through it."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capillary.dvc.config import read_config
from capillary.lifetimes.bounded import LIMIT_S, SilenceError, bounded
from capillary.remote.trial import ReadOnlyError, place_of, prove
from stages.common.errors import CapillaryError, ServiceError
from stages.common.preflight.check import Check, missed, passed, warned

NAME = "remote"
_WANTED = "a small file can be written, read and removed"
_SET_UP = "capillary remote setup (docs/remotes.md)"
# what DVC's own package needs for a scheme; the rest comes with DVC
_PLUGINS = {"s3": "dvc_s3", "ssh": "dvc_ssh", "gs": "dvc_gs", "azure": "dvc_azure", "webdavs": "dvc_webdav"}
_TIMEOUT_S = 4
_ROUND_TRIP_S = 4 * LIMIT_S  # it asks four times


def check_remote(root: Path) -> Check:
    """A fault for a remote that does not work; a warning for none, and for one that this login may only read."""
    try:
        config = read_config(root)
    except CapillaryError as error:
        return missed(NAME, error.what, _WANTED, error.remedy, critical=True)
    name = config.get("core", {}).get("remote")
    if name is None:
        remedy = _SET_UP
        return warned(NAME, "no remote is the default: data and cards stay on this machine", _WANTED, remedy)
    if name not in config["remote"]:
        return missed(NAME, f"the default {name} is not set up", _WANTED, _SET_UP, critical=True)
    return _try(name, config)


def _try(name: str, config: Mapping[str, Any]) -> Check:
    options = config["remote"][name]
    place, module = place_of(options), _PLUGINS.get(str(options["url"]).partition("://")[0])
    if module and importlib.util.find_spec(module) is None:
        package = module.replace("_", "-")
        remedy = f".venv/bin/pip install -c constraints.txt {package}"
        return missed(NAME, f"{place} needs {package}, which is not installed", _WANTED, remedy, critical=True)
    try:
        bounded(lambda: prove(name, config, _TIMEOUT_S), _ROUND_TRIP_S)
    except SilenceError:
        remedy = "check its URL, the network and the proxy"
        return missed(NAME, f"{place} does not answer within {_ROUND_TRIP_S:g} s", _WANTED, remedy, critical=True)
    except ReadOnlyError as error:
        return warned(NAME, f"{error.what}: dvc pull works, dvc push does not", _WANTED, error.remedy)
    except ServiceError as error:
        return missed(NAME, error.what, _WANTED, error.remedy, critical=True)
    return passed(NAME, f"{place} ({name})", _WANTED, critical=True)
