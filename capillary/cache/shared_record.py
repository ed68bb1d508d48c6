"""A record of a run cache that somebody else may have written, checked against the run that it is to be of. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capillary.dvc.claim import RunClaim
from capillary.dvc.objects import is_digest
from capillary.yaml_file import parse_yaml
from stages.common.errors import DamagedError, ParamsError

MOST_BYTES = 1 << 16  # of an entry; the longest real ones have some hundred lines
_KEYS = frozenset({"cmd", "deps", "params", "outs"})
_OUT_KEYS = frozenset({"path", "hash", "md5", "size", "nfiles", "isexec"})
_MOST = 1 << 62


@dataclass(frozen=True, kw_only=True)
class SharedResult:
    """Outs of a run, by name as DVC records them. `entry` is the name of their record in the remote, empty for those
    that dvc.lock names.
    """

    entry: str
    outs: Mapping[str, Mapping[str, Any]] = field(repr=False)

    @property
    def digests(self) -> dict[str, str]:
        """Name → hash of each out."""
        return {name: out["md5"] for name, out in self.outs.items()}


def read_record(content: bytes, entry: str, claim: RunClaim) -> SharedResult:
    """The result in the record `content`, called `entry`; DamagedError if it is not a record of the run `claim`."""
    if len(content) >= MOST_BYTES:
        raise _foreign(entry, f"it has {MOST_BYTES:,} bytes or more")
    try:
        record = parse_yaml(content, Path(entry))
    except ParamsError as error:
        raise _foreign(entry, error.what) from error
    if not record.keys() <= _KEYS:
        raise _foreign(entry, "it has other keys than a record")
    if record.get("cmd") != claim.cmd or (record.get("params") or {}) != claim.params:
        raise _foreign(entry, "its command or params are others than its name says")
    if _hashes(record.get("deps")) != _hashes(claim.deps):
        raise _foreign(entry, "its deps are others than its name says")
    outs = record.get("outs")
    if not isinstance(outs, list) or not all(map(_is_out, outs)):
        raise _foreign(entry, "its outs are not named by their MD5")
    if sorted(out["path"] for out in outs) != sorted(claim.outs):
        raise _foreign(entry, "its outs are others than dvc.yaml declares")
    return SharedResult(entry=entry, outs={out["path"]: out for out in outs})


def record_of(claim: RunClaim, outs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The record of a run, as DVC writes it."""
    params = {"params": dict(claim.params)} if claim.params else {}
    made = [{"path": name, **{key: outs[name][key] for key in outs[name] if key != "path"}} for name in sorted(outs)]
    return {"cmd": claim.cmd, "deps": [dict(dep) for dep in claim.deps], **params, "outs": made}


def _hashes(deps: Any) -> Any:
    """(path, hash) of each dep; None for anything but a list of them."""
    if not isinstance(deps, list | tuple) or not all(isinstance(dep, dict) for dep in deps):
        return None
    return [(dep.get("path"), dep.get("md5")) for dep in deps]


def _is_out(out: Any) -> bool:
    if not isinstance(out, dict) or not out.keys() <= _OUT_KEYS or out.get("hash") != "md5":
        return False
    words = isinstance(out.get("path"), str) and isinstance(out.get("md5"), str) and is_digest(out["md5"])
    numbers = [out[key] for key in ("size", "nfiles") if key in out]
    return words and all(type(number) is int and 0 <= number < _MOST for number in numbers)


def _foreign(entry: str, why: str) -> DamagedError:
    return DamagedError(
        "a record in the shared cache is damaged or foreign",
        file=entry,
        value=why,
        remedy="remove it from the remote, and look at who may write there",
    )
