"""What each field of a model card must be: a card is a file as any other, and may hold anything."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from stages.common.networks.description import FILES
from stages.common.text import find_hidden

_LOSS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")  # part of the registered model's name
_SHA256 = re.compile(r"[0-9a-f]{64}")


def wrong_field(card: Mapping[str, Any]) -> str | None:
    """The first field of `card`, which has all of them, that cannot be right; None if all can."""
    return next((name for name, is_right in _RULES.items() if not is_right(card[name])), None)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and find_hidden(value) is None


def _is_loss(value: object) -> bool:
    return isinstance(value, str) and _LOSS.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_seed(value: object) -> bool:
    return value is None or _is_count(value)


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_patch(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_count(size) and size > 0 for size in value)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_setup(value: object) -> bool:
    return value is None or _is_sha256(value)


def _is_files(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == set(FILES) and all(map(_is_file, value.values()))


def _is_file(value: object) -> bool:
    is_complete = isinstance(value, dict) and value.keys() == {"sha256", "bytes"}
    return is_complete and _is_sha256(value["sha256"]) and _is_count(value["bytes"])  # type: ignore[index]


_RULES: dict[str, Callable[[object], bool]] = {
    "loss": _is_loss,
    "fold": _is_count,
    "seed": _is_seed,
    "setup": _is_setup,
    "weights_sha256": _is_sha256,
    "patch_voxels": _is_patch,
    "epochs": _is_count,
    "validation_dsc": _is_number,
    "fingerprint": _is_name,
    "precision": _is_name,
    "files": _is_files,
}
