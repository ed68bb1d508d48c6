"""What DVC's run cache knows a run by: command, deps and params, before there are any outs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunClaim:
    """A run of the entry `address` in DVC's own words. `key` is the name of its folder in a run cache.

    `outs` are the declared names. `recorded` has the hash of each out that dvc.lock names for this very run, or is
    empty. `is_wanted` is False where the result is here and was asked for again on purpose.
    """

    address: str
    key: str
    cmd: str | Sequence[str]
    deps: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any]
    outs: tuple[str, ...]
    recorded: Mapping[str, str]
    is_wanted: bool
