"""Networks that the team keeps in DVC's remote: those of the present cards are there."""

from collections.abc import Iterator
from pathlib import Path

from capillary.planning.plan import WEIGHTS
from capillary.weights.choice import weights_in_remote
from stages.common.preflight.check import Check, passed, warned
from stages.common.text import json_value

NAME = "weights"
_WANTED = "the networks of all cards"


def check_weights(root: Path) -> Iterator[Check]:
    """Nothing if this team keeps networks in the registry only. ParamsError for a malformed choice."""
    if not weights_in_remote(root):
        return
    absent = [file for file, name in _cards(root) if not (root / WEIGHTS / name).is_dir()]
    if absent:
        shown = ", ".join(str(file.relative_to(root)) for file in absent[:3])
        remedy = "dvc pull; or where they were trained: capillary weights keep, then dvc push"
        yield warned(NAME, f"{len(absent)} cards have no network in {WEIGHTS}/: {shown}", _WANTED, remedy)
    else:
        yield passed(NAME, f"{WEIGHTS}/ has the networks of all cards", _WANTED)


def _cards(root: Path) -> Iterator[tuple[Path, str]]:
    """(file, hash of the weights) of each card; one that cannot be read has a hash that no folder has."""
    for file in sorted((root / "models").rglob("fold_*.json")):
        try:
            data = json_value(file.read_bytes())
        except (OSError, ValueError):  # a link whose file is gone from DVC's cache
            data = None
        found = data.get("weights_sha256") if isinstance(data, dict) else None
        yield file, found if isinstance(found, str) and found.isalnum() else "none"
