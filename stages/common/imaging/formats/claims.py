"""What a header claims, compared with what its file can hold and with the memory that is left, before any is taken."""

from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import ExitCode
from stages.common.imaging.formats.damage import TooLargeError, damaged
from stages.common.machine.memory import memory_room

FLOAT = 4  # bytes of a voxel in the copies that are computed with


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How voxels are compressed, and how many times its size such data can unpack to."""

    name: str
    expansion: int


PLAIN = Packing(name="uncompressed", expansion=1)
DEFLATE = Packing(name="deflate", expansion=1032)  # 258 equal bytes in two bits


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Voxels that take `stored_bytes` when they are unpacked; the file has `held_bytes` for them."""

    stored_bytes: int
    held_bytes: int
    packing: Packing


def refuse_impossible(claim: Claim, path: Path) -> None:
    """Raise DataError if the file cannot hold what its header claims, however well it is packed."""
    most = claim.held_bytes * claim.packing.expansion
    if 0 <= claim.stored_bytes <= most:
        return
    limit = f", which unpack to {most:,} at most ({claim.packing.name})" if claim.packing.expansion > 1 else ""
    text = f"its header claims {claim.stored_bytes:,} bytes of voxels, the file has {claim.held_bytes:,}{limit}"
    raise damaged(path, text)


def refuse_large(needed: int, voxels: int, path: Path) -> None:
    """Raise TooLargeError if reading takes more memory than is left. `voxels` is how many bytes they take alone."""
    room = memory_room()
    if needed <= room.bytes:
        return
    raise TooLargeError(
        "the stack does not fit into memory",
        remedy="end other programs, raise the memory limit of the container (memory_gb in configs/stages.yaml) "
        "or use a machine with more memory",
        code=ExitCode.MACHINE,
        file=path,
        value=f"{_gb(voxels)} of voxels, {_gb(needed)} with a copy to compute with; {_gb(room.bytes)} {room.where}",
    )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
