"""Streams of random numbers: one for each purpose, patch, epoch and seed, and the same ones for ever."""

import itertools

import numpy as np

from stages.train.sampling.draws import Purpose, generator


def test_every_seed_epoch_index_and_purpose_has_a_stream_of_its_own() -> None:
    """No two begin alike, so that neither a patch nor its noise repeats another's draws."""
    streams = {
        (seed, epoch, index, purpose): tuple(generator(seed, epoch, index, purpose).random(3))
        for seed, epoch, index, purpose in itertools.product(range(3), range(3), range(3), Purpose)
    }
    assert len(set(streams.values())) == len(streams) == 3**3 * len(Purpose)


def test_a_stream_is_that_of_numpys_philox_for_its_four_numbers() -> None:
    """A checkpoint of today is resumed with the patches of today: numbers of purposes are never given anew."""
    numbers = {"FOREGROUND_INDEX": 0, "PATCH": 1, "AUGMENTATION": 2, "NOISE": 3, "VALIDATION": 4, "LABELLED_INDEX": 5}
    assert {purpose.name: int(purpose) for purpose in Purpose} == numbers
    for name, number in numbers.items():
        expected = np.random.Generator(np.random.Philox(np.random.SeedSequence((7, 5, 2, number))))
        assert generator(7, 5, 2, Purpose[name]).random() == expected.random()
    assert generator(7, 5, 2, Purpose.PATCH).integers(1000, size=4).tolist() == [469, 880, 898, 302]
