"""Checkpoints: whole or absent, verified when read, and only ever those of the same training.

A file is one line of text (format and SHA-256 of the rest) and what torch.save wrote. It is written next to its place,
flushed and renamed, so it cannot be torn; the one before it stays as checkpoint.prev.pt in case the disk spoils it.
Loading runs no code (torch.load with weights_only).
"""

import hashlib
import io
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from stages.common.atomic import atomic_write, name_twice
from stages.common.errors import DataError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

NAME = "checkpoint.pt"
PREVIOUS = "checkpoint.prev.pt"
_MAGIC = b"capillary-checkpoint-1"


class Checkpoints:
    """The checkpoints in one state folder. `identity` says whose they are: another's is refused, not resumed."""

    def __init__(self, state_dir: Path, identity: dict[str, Any]) -> None:
        self._state_dir = state_dir
        self._identity = identity

    def save(self, state: dict[str, Any]) -> None:
        """Make `state` (tensors and plain values) the checkpoint."""
        buffer = io.BytesIO()
        torch.save({"identity": self._identity, "versions": _versions(), "state": state}, buffer)
        payload = buffer.getbuffer()
        current, previous = self._state_dir / NAME, self._state_dir / PREVIOUS
        if current.exists():
            # a second name for the present one; it is never absent under its own
            previous.unlink(missing_ok=True)
            name_twice(current, previous)
        with atomic_write(current) as stream:
            stream.write(_MAGIC + b" " + hashlib.sha256(payload).hexdigest().encode() + b"\n")
            stream.write(payload)
        log.debug(f"wrote the checkpoint {current} ({len(payload):,} bytes)")

    def load(self) -> dict[str, Any] | None:
        """The state of the latest readable checkpoint, on the CPU; None when there is none.

        An unreadable file is set aside with a notice, and what a killed process left half written is removed.
        Raises DataError when a checkpoint is another training's.
        """
        for left in self._state_dir.glob(f".{NAME}.*.tmp"):
            left.unlink()
        for name in (NAME, PREVIOUS):
            file = self._state_dir / name
            if not file.exists():
                continue
            payload = _verified(file)
            if payload is None:
                aside = file.with_name(f"{file.stem}.unreadable.pt")
                file.replace(aside)
                log.warning(f"the checkpoint {file} is damaged (its checksum is wrong) and set aside as {aside.name}")
                continue
            content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
            self._refuse_foreign(content["identity"], file)
            state: dict[str, Any] = content["state"]
            return state
        return None

    def _refuse_foreign(self, found: dict[str, Any], file: Path) -> None:
        differing = {
            key: f"{found.get(key)} there, {self._identity.get(key)} here"
            for key in sorted(found.keys() | self._identity.keys())
            if found.get(key) != self._identity.get(key)
        }
        if differing:
            raise DataError(
                "the checkpoint belongs to another training",
                remedy="remove its folder to train from the beginning, or name another one as state_dir in order.json",
                file=file,
                value="; ".join(f"{key}: {text}" for key, text in differing.items()),
            )


def _verified(file: Path) -> bytes | None:
    header, _, payload = file.read_bytes().partition(b"\n")
    magic, _, checksum = header.partition(b" ")
    if magic != _MAGIC or hashlib.sha256(payload).hexdigest().encode() != checksum:
        return None
    return payload


def _versions() -> dict[str, str]:
    return {package: metadata.version(package) for package in ("torch", "monai", "numpy")}
