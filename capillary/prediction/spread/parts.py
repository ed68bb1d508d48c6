"""Parts of a prediction: how many, how large, and what a part is for the process that waits for its job."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from stages.common.params import Params
from stages.common.requests.prediction.content import hash_of
from stages.common.requests.prediction.request import PredictRequest

ROUNDS = 4  # parts per job at a time: so that the last ones end together, and little is lost with one
Item = TypeVar("Item")


class Carried(Params):
    """A file that a part reads besides its stacks; a small one is copied into the job."""

    name: str
    host: Path
    is_small: bool


class Part(Params):
    """What one job does. `traces` tell it from others, `target` is where the host finds what it left."""

    root: Path
    address: str
    request: PredictRequest
    traces: dict[str, str]
    target: Path
    reads: tuple[Carried, ...] = ()


def cut(items: Sequence[Item], most: int, jobs: int) -> list[Sequence[Item]]:
    """`items` in parts of at most `most`, for `jobs` at a time; a repeated command has the same parts."""
    size = max(1, min(most, -(-len(items) // (ROUNDS * jobs))))
    return [items[first : first + size] for first in range(0, len(items), size)]


def address_of(target: Path, what: str) -> str:
    """The name of a part in `capillary jobs`: `predict@masks-3`."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", target.absolute().name)[:40]
    return f"predict@{name}-{what}"


def folder_of(parent: Path, address: str, traces: dict[str, str]) -> Path:
    """Where the part's results come, apart from those of a part that was cut otherwise."""
    return parent / f"{address.partition('@')[2]}-{hash_of(traces)[:16]}"
