"""Under which circumstances a result was computed: what may change its last bits although deps and params are equal.

Each result that is computed here, or by a job of this machine, leaves a small file. `capillary cache audit` reads it to
tell a difference that another CPU or another package explains from one that nothing explains.
"""

import hashlib
import json
import re
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, TypeAdapter, ValidationError

from stages.common.atomic import atomic_write
from stages.common.machine.cpu import cpu_model
from stages.common.runtime import Compute

_ROOM = Path(".capillary", "circumstances")
_MOST_BYTES = 1 << 28  # larger outs are stacks, which are made without floating-point sums over threads
_MOST_NAMED = 4
_KEY = ("environment", "cpu", "device", "threads", "processes")
MOST_NOTE_BYTES = 1 << 18
_DISTRIBUTION = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)\.dist-info")


_Word = Annotated[str, Field(max_length=300, pattern="^[\\x20-\\x7e\\u00a0-\\uffff]*$")]  # they are printed
_Number = Annotated[int, Field(ge=0, le=1_000_000)]


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """`environment` is what the executor calls its interpreter or image, `packages` the versions of this interpreter's
    packages; empty for a container, whose image stands for them.
    """

    version: Literal[1] = 1
    environment: Annotated[tuple[_Word, ...], Field(max_length=16)]
    packages: Annotated[Mapping[_Word, _Word], Field(max_length=10_000)]
    cpu: _Word
    device: _Word
    threads: _Number
    processes: _Number


_NOTE = TypeAdapter(Circumstances)  # of a node or a colleague; further keys are ignored


def circumstances_here(environment: Sequence[str], compute: Compute, *, in_container: bool) -> Circumstances:
    """Those of a stage that this machine runs now."""
    return Circumstances(
        environment=tuple(environment),
        packages={} if in_container else installed_packages(),
        cpu=cpu_model(),
        device=compute.device,
        threads=compute.threads,
        processes=compute.processes,
    )


def differing_key(recorded: Circumstances, now: Circumstances) -> list[str]:
    """Which parts of the environment key differ: image or interpreter, CPU type, device, threads, processes."""
    return [name for name in _KEY if getattr(recorded, name) != getattr(now, name)]


def differences(recorded: Circumstances, now: Circumstances) -> list[str]:
    """What differs between two circumstances, in words; empty when nothing does."""
    pairs = ((name, getattr(recorded, name), getattr(now, name)) for name in differing_key(recorded, now))
    found = [f"{name}: {_words(one)} then, {_words(other)} now" for name, one, other in pairs]
    changed = [
        f"{name} {recorded.packages.get(name, 'missing')} then, {now.packages.get(name, 'missing')} now"
        for name in sorted(recorded.packages.keys() | now.packages.keys())
        if recorded.packages.get(name) != now.packages.get(name)
    ]
    more = [f"{len(changed) - _MOST_NAMED} more packages"] if len(changed) > _MOST_NAMED else []
    return [*found, *changed[:_MOST_NAMED], *more]


def keep(repository: Path, address: str, root: Path, outs: Sequence[str], found: Circumstances) -> None:
    """Remember under which circumstances the published `outs` of `root` were computed."""
    if sum(file.stat().st_size for out in outs for file in _files_of(root / out)) > _MOST_BYTES:
        return
    keep_of(repository, address, digests_of(root, outs), found)


def keep_of(repository: Path, address: str, digests: Mapping[str, str], found: Circumstances) -> None:
    """Remember under which circumstances the outs with these `digests` were computed."""
    note = json.dumps({"address": address, "outs": dict(digests), **asdict(found)}, indent=1)
    with atomic_write(_file(repository, address, digests)) as stream:
        stream.write(note.encode())


def recall(repository: Path, address: str, digests: Mapping[str, str]) -> Circumstances | None:
    """The circumstances of the result with the `digests` of its outs; None for one that came from elsewhere.

    A file that cannot be read counts as none: it is this machine's own note, and only explains.
    """
    try:
        return read_note(_file(repository, address, digests).read_bytes())
    except FileNotFoundError:
        return None


def note_of(found: Circumstances) -> bytes:
    """`found` as it travels between machines."""
    return json.dumps(asdict(found)).encode()


def read_note(content: bytes) -> Circumstances | None:
    """The circumstances that another machine noted; None for anything else, such as a newer form."""
    try:
        return _NOTE.validate_json(content)
    except ValidationError:
        return None


def digests_of(root: Path, outs: Sequence[str]) -> dict[str, str]:
    """Each of `outs` below `root` with its hash, as DVC records it."""
    return {out: _dvc_md5(root / out) for out in outs}


def installed_packages() -> dict[str, str]:
    """Name → version of the packages of this interpreter, from the names of their folders: milliseconds."""
    folder = Path(sysconfig.get_path("purelib"))
    names = (_DISTRIBUTION.fullmatch(each.name) for each in folder.glob("*.dist-info"))
    return dict(sorted((found["name"], found["version"]) for found in names if found))


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _file(repository: Path, address: str, digests: Mapping[str, str]) -> Path:
    key = hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()
    return repository / _ROOM / f"{quote(address, safe='@=,+ ')}-{key[:16]}.json"


def _files_of(out: Path) -> Iterator[Path]:
    if out.is_file():
        yield out
    else:
        yield from sorted(file for file in out.rglob("*") if file.is_file())


def _dvc_md5(out: Path) -> str:
    """The MD5 of a file; of a folder that of the list of its files, with the ending .dir."""
    if out.is_file():
        return _md5(out)
    listed = [{"md5": _md5(file), "relpath": file.relative_to(out).as_posix()} for file in _files_of(out)]
    text = json.dumps(sorted(listed, key=lambda each: each["relpath"]), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
