"""What DVC's cache delivered, read once and compared with what DVC recorded.

A file of the cache that is read-only counts as whole to DVC, and what it copies or links from there is never read: a
bit that fell over on the disk, or a half copy, would be trained on. So each file is read here before the first stage
that needs it, and known by its inode, size and time from then on, as DVC's own memory knows files.
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stages.common.atomic import atomic_write
from stages.common.errors import DamagedError
from stages.common.lifetimes.locks import locked
from stages.common.program.messages import get_logger

log = get_logger(__name__)

MEMORY = Path(".capillary", "verified.json")
_CHUNK_BYTES = 1 << 22
_TOLD_BYTES = 1 << 30
_READERS = 4
State = tuple[int, int, int, str]  # inode, size, time in ns, MD5
_MEMORY = TypeAdapter(dict[str, State])


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """A file that is in an out of DVC's: what its MD5 must be, where the cache has it, and what brings it back.

    `out` is the out as the user names it, `maker` the stage that makes it; None if the user added it.
    """

    file: Path
    md5: str
    cached: Path
    out: str
    maker: str | None


def refuse_damaged(files: Iterable[Delivered], repository: Path, is_stopped: Callable[[], bool]) -> None:
    """Raise DamagedError for the first of `files` whose content is not what DVC recorded. Changes none of them.

    Files that were read before and have not changed since are not read again. Stops early, and remembers less, when
    `is_stopped` says so.
    """
    memory = repository / MEMORY
    # parallel cells need the same files: one reads, the others wait; on a disk without locks each reads them
    with locked(memory.with_suffix(".lock"), or_go_on=True):
        known = _remembered(memory)
        states = [(each, _state(each)) for each in files]
        todo = [(each, state) for each, state in states if known.get(str(each.file)) != state]
        if not todo:
            return
        digests = _read([each.file for each, _ in todo], is_stopped)
        right = {str(each.file): state for (each, state), found in zip(todo, digests, strict=True) if found == each.md5}
        kept = {file: state for file, state in known.items() if os.path.lexists(file)}
        with atomic_write(memory) as stream:
            stream.write(_MEMORY.dump_json(kept | right))
    for (each, _), found in zip(todo, digests, strict=True):
        if found is not None and found != each.md5:
            raise _damaged(each, found, is_stopped)


def _read(files: Sequence[Path], is_stopped: Callable[[], bool]) -> list[str | None]:
    """The MD5 of each of `files`, None for those that a stop came before."""
    size = sum(file.stat().st_size for file in files)
    if size > _TOLD_BYTES:
        log.info(f"checking {size / 1e9:.1f} GB that DVC's cache delivered, once")
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda file: _md5(file, is_stopped), files))


def _state(each: Delivered) -> State:
    found = each.file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, each.md5


def _remembered(memory: Path) -> dict[str, State]:
    """What was read before; nothing if that memory is not there or torn: it only saves time."""
    try:
        return _MEMORY.validate_json(memory.read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def _md5(file: Path, is_stopped: Callable[[], bool]) -> str | None:
    """The MD5 of a file, which is DVC's name for it; None when stopped before the end."""
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            if is_stopped():
                return None
            digest.update(chunk)
    return digest.hexdigest()


def _damaged(each: Delivered, found: str, is_stopped: Callable[[], bool]) -> DamagedError:
    in_cache = _md5(each.cached, is_stopped) if each.cached.is_file() else None
    file, cached, out = (shlex.quote(str(name)) for name in (each.file, each.cached, each.out))
    if in_cache == each.md5:
        remedy = f"`rm -f {file}`, then `dvc checkout {out}`: DVC's cache has an intact copy"
    else:
        again = f"`dvc repro -f -s {each.maker}`" if each.maker else f"`dvc add {out}`, after restoring the original"
        remedy = (
            f"`rm -f {file} {cached}`, then fetch it again: `dvc pull {out}`; "
            f"if no remote has it, make it again: {again}"
        )
    return DamagedError(
        f"{each.out} is damaged: one of its files differs from what DVC recorded",
        file=each.file,
        value=f"MD5 {found} instead of {each.md5}",
        remedy=remedy,
    )
