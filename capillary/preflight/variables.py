"""Variables that begin as the product's own do, and that nothing reads: most often misspelt."""

import difflib
import fnmatch
from collections.abc import Iterable, Iterator

from capillary.setting_values import PREFIX
from capillary.settings import SETTINGS
from stages.common.preflight.check import Check, warned

# read by the service, docker-compose.yml, the dvc-runner, the shell, a guard and tests
_READ_ELSEWHERE = (
    *("CAPILLARY_SERVE_*", "CAPILLARY_*_MEMORY", "CAPILLARY_*_IMAGE", "CAPILLARY_TORCH_INDEX_*", "CAPILLARY_TEST_*"),
    *("CAPILLARY_BUILD_NETWORK", "CAPILLARY_DOCKER_SOCKET", "CAPILLARY_GIT_DIR", "CAPILLARY_STOP_GRACE"),
    *("CAPILLARY_POLICY", "CAPILLARY_PYTHON"),
)


def check_variables(variables: Iterable[str]) -> Iterator[Check]:
    """A warning for the names in `variables` (of the environment and .env) that nothing reads; nothing if all are."""
    unread = sorted(name for name in variables if name.startswith(PREFIX) and not _is_read(name))
    if unread:
        found = f"nothing reads {', '.join(unread)}"
        yield warned("settings", found, "names that .env.example lists", "; ".join(map(_remedy, unread)))


def _is_read(name: str) -> bool:
    return name in SETTINGS or any(fnmatch.fnmatchcase(name, pattern) for pattern in _READ_ELSEWHERE)


def _remedy(name: str) -> str:
    names = [setting.removeprefix(PREFIX) for setting in SETTINGS]
    near = difflib.get_close_matches(name.removeprefix(PREFIX), names, n=1, cutoff=0.7)
    return f"rename {name} to {PREFIX}{near[0]}, if that is meant" if near else f"remove {name}; .env.example lists all"
