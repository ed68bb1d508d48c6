"""Recorded results for tests."""

from pathlib import Path
from typing import Any

from capillary.cache.recorded import Recorded

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def record(address: str = "train@a-0", **changes: Any) -> Recorded:
    """A result of `address`, unlike that of any other address."""
    usual = {
        "cmd": (f"capillary stage train --cell {address}",),
        "deps": {"data": A},
        "params": {"training.seed": 1},
        "outs": {"models/card.json": B},
        "files": (Path("/p/dvc.lock"),),
    }
    return Recorded(address=address, **{**usual, **changes})
