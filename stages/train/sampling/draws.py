"""Random draws that depend on what they are for and on nothing else.

Every draw of a training comes from its own generator, named by (seed, epoch, index, purpose). So neither the number of
loader workers nor an interruption changes any of them (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3": Philox is counter-based and its streams are independent).
"""

import enum

import numpy as np


class Purpose(enum.IntEnum):
    """What a stream of random numbers is for. The values are part of a training's identity: never renumber."""

    FOREGROUND_INDEX = 0
    PATCH = 1
    AUGMENTATION = 2
    NOISE = 3
    VALIDATION = 4
    LABELLED_INDEX = 5


def generator(seed: int, epoch: int, index: int, purpose: Purpose) -> np.random.Generator:
    """The stream of random numbers for one `purpose` of patch `index` in `epoch`."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, index, int(purpose)))))
