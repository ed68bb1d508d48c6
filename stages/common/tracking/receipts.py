"""Which run and version of which server a training became: hints, kept outside DVC's outs.

`<repository>/.capillary/receipts/<fingerprint>.json` has an entry per server. A card says nothing that a server
assigns, so that publishing later changes no out. Whoever reads a receipt asks the server whether it is still true.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stages.common.atomic import atomic_write
from stages.common.lifetimes.locks import locked
from stages.common.text import find_hidden, without_login

_MOST_BYTES = 1 << 20
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


def _hides_nothing(text: str) -> str:
    if find_hidden(text) is not None:
        raise ValueError("it holds a character that hides")
    return text


_Text = Annotated[str, AfterValidator(_hides_nothing)]


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a server made of a training. `version` is empty if the server has no registry."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    run_id: _Text
    name: _Text
    version: _Text
    weights_sha256: _Text


_RECEIPT = TypeAdapter(Receipt)


class _Receipts(BaseModel):
    """The file: an entry per server, each checked where it is taken."""

    form: Literal[1] = 1
    servers: dict[str, Any] = Field(default_factory=dict)


def read_receipt(folder: Path, fingerprint: str, uri: str) -> Receipt | None:
    """The receipt of the server at `uri`, None if there is none that can be read: it is a hint only."""
    try:
        return _RECEIPT.validate_python(_read(_file(folder, fingerprint)).servers.get(without_login(uri)))
    except ValidationError:
        return None


def write_receipt(folder: Path, fingerprint: str, uri: str, receipt: Receipt) -> None:
    """Note `receipt` for the server at `uri`; entries of other servers stay."""
    file = _file(folder, fingerprint)
    with locked(folder / ".lock"):
        kept = _Receipts(servers={**_read(file).servers, without_login(uri): asdict(receipt)})
        with atomic_write(file) as stream:
            stream.write(json.dumps(kept.model_dump(), indent=2, sort_keys=True).encode() + b"\n")


def _file(folder: Path, fingerprint: str) -> Path:
    # a card may hold anything: never a path that leads elsewhere
    return folder / f"{fingerprint if _NAME.fullmatch(fingerprint) else 'other'}.json"


def _read(file: Path) -> _Receipts:
    """The content of `file`, no entries for a file that is missing, damaged or of another form."""
    try:
        if file.is_symlink() or file.stat().st_size > _MOST_BYTES:
            return _Receipts()
        return _Receipts.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return _Receipts()
