"""Pin a data set on the Hugging Face Hub to a commit: a small file that ingest.source names and Git keeps."""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from capillary.planning.access import read_access, variables_for
from capillary.settings import read_settings
from stages.common.atomic import atomic_write
from stages.common.dataset.hub import (
    FORM,
    MAX_PIN_BYTES,
    PIN_SUFFIX,
    HubAddress,
    HubPin,
    parse_address,
    pin_bytes,
    read_pin,
)
from stages.common.errors import DataError, MachineError, UsageError
from stages.common.program.messages import get_logger
from stages.common.runtime import HubLogin, hub_login
from stages.common.text import counted

log = get_logger(__name__)

FOLDER = Path("configs", "sources")


@dataclass(frozen=True, kw_only=True)
class PinRequest:
    """What `capillary dataset pin` was asked for. `file` None: configs/sources/<name of the data set>.hub.json."""

    source: str
    file: Path | None
    root: Path


def pin(request: PinRequest) -> None:
    """Write the pin file, or renew it. Raises CapillaryError for an address that is none, DataError, ServiceError."""
    try:
        address = parse_address(request.source)
    except ValueError as error:
        raise UsageError(f"{request.source} {error}", remedy=f"write {FORM}", value=request.source) from error
    name = request.file or FOLDER / f"{address.repo.rpartition('/')[2]}{PIN_SUFFIX}"
    if not name.name.endswith(PIN_SUFFIX):
        what = f"{name} does not end in {PIN_SUFFIX}, by which ingest knows such a file"
        raise UsageError(what, remedy=f"call it {name.name}{PIN_SUFFIX}", file=name)
    target = request.root / name
    former = _former(target, name)
    found = _ask(address, _login(request.root))
    with atomic_write(target) as stream:
        stream.write(pin_bytes(found))
    log.info(f"{_change(former, found)}; wrote {name}")
    log.info(f"set ingest.source: {name} in params.yaml, and keep {name} in Git")


def _former(target: Path, shown: Path) -> HubPin | None:
    """The pin that is there already. DataError for a file that is none: it is not overwritten."""
    if not target.exists():
        return None
    with target.open("rb") as stream:
        return read_pin(stream.read(MAX_PIN_BYTES + 1), str(shown))


def _login(root: Path) -> HubLogin:
    """As ingest gets it."""
    variables = variables_for(read_access(root, "ingest"), read_settings(root))
    return hub_login(variables.get("HF_ENDPOINT") or HubLogin.endpoint, variables.get("HF_TOKEN"))


def _ask(address: HubAddress, login: HubLogin) -> HubPin:
    """The commit that the address means now, if the folder is there."""
    if importlib.util.find_spec("aiohttp") is None:
        raise MachineError(
            "asking the Hub needs aiohttp, which is not installed",
            remedy="install it with ./just setup stages",
        )
    client, files = (importlib.import_module(f"stages.ingest.sources.hub.{name}") for name in ("client", "files"))
    asked = client.HubClient(login=login, address=address)
    commit = asked.commit_of(address.revision)
    found = files.take_entries(asked.entries(commit), address.folder, address.text).values()
    if not found:
        raise DataError(f"{address.text} holds no file", remedy="correct the folder", file=address.text)
    log.info(f"{address.text} holds {counted(len(found), 'file')}, {sum(file.size for file in found):,} bytes")
    return HubPin(address=address, commit=commit)


def _change(former: HubPin | None, now: HubPin) -> str:
    if former is None or former.address.repo != now.address.repo:
        return f"pinned {now.address.text} at {now.commit}"
    if former.commit == now.commit:
        return f"{now.address.text} is still at {now.commit}"
    return f"{now.address.text} moved from {former.commit} to {now.commit}"
