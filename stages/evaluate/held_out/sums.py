"""The mean of several networks' probabilities, volume by volume, without more than one volume in memory."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class RunningSums:
    """Sums of probabilities over networks, one file for each volume in `folder`.

    Networks come one after another and each predicts all volumes: so the sums wait on the disk, and no network is
    loaded twice.
    """

    def __init__(self, folder: Path) -> None:
        """An empty sum for every volume."""
        self._folder = folder
        self._counts: dict[int, int] = {}

    def add(self, place: int, probability_zyx: NDArray[np.float32]) -> None:
        """One more network's probability of volume number `place`, on the grid on which the others are."""
        if place not in self._counts:
            np.save(self._file(place), probability_zyx)
        else:
            total = np.lib.format.open_memmap(self._file(place), mode="r+")
            for z, probability_yx in enumerate(probability_zyx):
                total[z] += probability_yx
            total.flush()
        self._counts[place] = self._counts.get(place, 0) + 1

    def take_mean(self, place: int) -> NDArray[np.float32]:
        """The mean of what was added for volume number `place`, zyx; its sum begins again. KeyError: nothing was."""
        count = self._counts.pop(place)
        mean: NDArray[np.float32] = np.load(self._file(place), allow_pickle=False)
        self._file(place).unlink()
        mean /= np.float32(count)
        return mean

    def _file(self, place: int) -> Path:
        return self._folder / f"sum-{place}.npy"
