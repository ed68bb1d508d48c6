"""Made-up vessels for which figures of published code are kept in tests."""

import numpy as np
import torch
from torch import Tensor

Case = tuple[Tensor, Tensor, Tensor, Tensor]  # probability, label, and a skeleton of each mask: label's, prediction's
SHAPE = (12, 20, 24)


def cases() -> dict[str, Case]:
    """By name, each (1, 1, z, y, x); the last is a batch of the first two."""
    exact = _case(shift=0.0, swelling=0.0, gap=0)
    found = {
        "shifted": _case(shift=1.0, swelling=0.0, gap=0),
        "thicker": _case(shift=0.0, swelling=1.0, gap=0),
        "broken": _case(shift=0.5, swelling=-0.5, gap=6),
    }
    batch = tuple(torch.cat([one, other]) for one, other in zip(found["shifted"], found["broken"], strict=True))
    return {"exact": exact, **found, "batch": batch}  # type: ignore[dict-item]


def _case(shift: float, swelling: float, gap: int) -> Case:
    z, y, x = np.indices(SHAPE)
    bend = 2 * np.sin(x / 5)
    thick, thin = np.hypot(z - 5.5, y - 6 - bend), np.hypot(z - 6.0, y - 15.0)
    label = (thick <= 3) | (thin <= 1)
    whole = np.abs(x - 12) >= gap
    guessed = (
        (np.hypot(z - 5.5, y - 6 - bend - shift) <= 3 + swelling) | (np.hypot(z - 6.0, y - 15 - shift) <= 1)
    ) & whole
    unsure = 0.05 * np.sin(z + 2 * y + 3 * x)
    probability = np.where(guessed, 0.85 + unsure, 0.15 + unsure)
    lines = [
        ((z == 6) & ((y == np.round(6 + bend + offset)) | (y == 15 + round(offset)))) & mask
        for offset, mask in ((0.0, label), (shift, guessed))
    ]
    probability, label, *lines = (torch.from_numpy(one)[None, None] for one in (probability, label, *lines))
    return probability, label, lines[0], lines[1]
