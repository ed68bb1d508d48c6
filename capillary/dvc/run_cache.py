"""Records of DVC's run cache as DVC itself writes them."""

from collections.abc import Mapping
from typing import Any

from dvc.stage.cache import _get_cache_hash  # DVC has no other word for it
from dvc.utils.serialize import dumps_yaml


def name_of(record: Mapping[str, Any]) -> str:
    """The file name of `record` in its folder."""
    return str(_get_cache_hash(record))


def content_of(record: Mapping[str, Any]) -> bytes:
    """The bytes of its file."""
    return bytes(dumps_yaml(record).encode())
