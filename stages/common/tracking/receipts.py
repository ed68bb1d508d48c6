"""Which run and version of which server a training became: hints, kept outside DVC's outs.

`<repository>/.capillary/receipts/<fingerprint>.json` has an entry per server. A card says nothing that a server
assigns, so that publishing later changes no out. Whoever reads a receipt asks the server whether it is still true.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.common.atomic import atomic_write
from stages.common.lifetimes.locks import locked
from stages.common.text import find_hidden, json_value
from stages.common.tracking.address import without_login

FOLDER = "receipts"
_FORM = 1
_MOST_BYTES = 1 << 20
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a server made of a training. `version` is empty if the server has no registry."""

    run_id: str
    name: str
    version: str
    weights_sha256: str


def read_receipt(folder: Path, fingerprint: str, uri: str) -> Receipt | None:
    """The receipt of the server at `uri`, None if there is none that can be read: it is a hint only."""
    entry = _read(_file(folder, fingerprint)).get(without_login(uri))
    if not isinstance(entry, dict) or entry.keys() != Receipt.__dataclass_fields__.keys():
        return None
    whole = all(isinstance(value, str) and find_hidden(value) is None for value in entry.values())
    return Receipt(**entry) if whole else None


def write_receipt(folder: Path, fingerprint: str, uri: str, receipt: Receipt) -> None:
    """Note `receipt` for the server at `uri`; entries of other servers stay."""
    file = _file(folder, fingerprint)
    with locked(folder / ".lock"):
        servers = {**_read(file), without_login(uri): asdict(receipt)}
        with atomic_write(file) as stream:
            stream.write(json.dumps({"form": _FORM, "servers": servers}, indent=2, sort_keys=True).encode() + b"\n")


def _file(folder: Path, fingerprint: str) -> Path:
    # a card may hold anything: never a path that leads elsewhere
    return folder / f"{fingerprint if _NAME.fullmatch(fingerprint) else 'other'}.json"


def _read(file: Path) -> dict[str, Any]:
    """The entries of `file`, none for a file that is missing, damaged or of another form."""
    try:
        if file.is_symlink() or file.stat().st_size > _MOST_BYTES:
            return {}
        data = json_value(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    servers = data.get("servers") if isinstance(data, dict) and data.get("form") == _FORM else None
    return servers if isinstance(servers, dict) else {}
