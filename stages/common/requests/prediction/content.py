"""Hashes of files and folders by their bytes. Standard library alone: the host asks, too."""

import hashlib
import json
from pathlib import Path

_CHUNK = 1 << 20


def content_sha256(path: Path) -> str:
    """SHA-256 of a file; of a folder, over the names and contents of all files in it."""
    if not path.is_dir():
        return _sha256(path)
    inner = sorted(file for file in path.rglob("*") if file.is_file())
    return hash_of([[file.relative_to(path).as_posix(), _sha256(file)] for file in inner])


def hash_of(value: object) -> str:
    """SHA-256 of a value that JSON can hold; equal values have equal hashes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
