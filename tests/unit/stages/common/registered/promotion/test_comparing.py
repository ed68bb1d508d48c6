"""Two trainings on their common volumes."""

import numpy as np
import pytest

from stages.common.registered.promotion.comparing import compare
from stages.common.registered.trainings.training import Training, VolumeResult
from stages.common.statistics.flips import flip_test
from tests.support.tracking.trainings import SETTINGS, made_training, sha256

VALUES = {f"v{index}": 0.5 + 0.03 * index for index in range(8)}
BETTER = {name: value + 0.01 * (index + 1) for index, (name, value) in enumerate(VALUES.items())}


def relabelled(training: Training, names: set[str]) -> Training:
    """`training` measured on other labels of the volumes `names`."""
    volumes = [
        one.model_copy(update={"label_sha256": sha256("other")}) if one.id in names else one for one in training.volumes
    ]
    return training.model_copy(update={"volumes": tuple(volumes)})


def test_the_difference_and_its_interval_are_those_of_the_paired_test() -> None:
    """Over all volumes, each in its own group; and the other way round with the other sign."""
    found = compare(made_training(BETTER), made_training(VALUES, name="two"), "dsc")
    differences = np.array(list(BETTER.values())) - np.array(list(VALUES.values()))
    expected = flip_test(differences, 0.95, draws=100, seed=1)
    assert found.difference == pytest.approx(differences.mean())
    assert (found.ci_low, found.ci_high, found.p) == (expected.ci_low, expected.ci_high, expected.p)
    assert (found.volumes, found.groups, found.left_out, found.is_better) == (8, 8, 0, True)
    back = compare(made_training(VALUES), made_training(BETTER, name="two"), "dsc")
    assert back.difference == pytest.approx(-differences.mean())
    assert not back.is_better
    assert "0.6" in found.words()
    assert "(95%, paired)" in found.words()


@pytest.mark.parametrize(("metric", "is_better"), [("dsc", True), ("hd95_um", False), ("betti_0_error", False)])
def test_less_is_better_where_it_is(metric: str, is_better: bool) -> None:
    """A larger distance is not a gain."""
    one, other = made_training(BETTER, metric=metric), made_training(VALUES, name="two", metric=metric)
    assert compare(one, other, metric).is_better is is_better
    assert compare(other, one, metric).is_better is not is_better


def test_equal_trainings_are_not_better() -> None:
    """So nothing moves."""
    assert not compare(made_training(VALUES), made_training(VALUES, name="two"), "dsc").is_better


def test_only_volumes_with_equal_labels_count() -> None:
    """New volumes, dropped ones and corrected labels are left out, and the words say how many."""
    other = relabelled(made_training({**VALUES, "gone": 0.0}, name="two"), {"v0", "v1"})
    found = compare(made_training({**BETTER, "new": 0.0}), other, "dsc")
    assert (found.volumes, found.left_out) == (6, 6)
    assert found.difference == pytest.approx(np.mean([0.01 * (index + 1) for index in range(2, 8)]))
    assert "left out: 6 volumes that only one of them has" in found.words()


def test_a_volume_of_several_seeds_and_a_group_of_several_volumes_count_once() -> None:
    """Two seeds are averaged within the volume, two volumes of a mouse within the mouse."""
    one, other = made_training(BETTER), made_training(VALUES, name="two")
    again = [
        VolumeResult.model_validate({**volume.model_dump(), "seed": 1, "values": {"dsc": volume.values["dsc"] + 0.2}})  # type: ignore[operator]
        for volume in one.volumes
    ]
    mice = {f"v{index}": f"mouse {index // 2}" for index in range(8)}
    volumes = [volume.model_copy(update={"group": mice[volume.id]}) for volume in (*one.volumes, *again)]
    found = compare(one.model_copy(update={"volumes": tuple(volumes)}), other, "dsc")
    assert (found.volumes, found.groups) == (8, 4)
    assert found.difference == pytest.approx(0.045 + 0.1)
    assert (found.ci_low, found.ci_high) == (None, None)
    assert "too few groups for an interval" in found.words()


@pytest.mark.parametrize(
    ("one", "other", "metric", "why"),
    [
        (made_training(VALUES), made_training({"x": 0.1}, name="two"), "dsc", "no volume with an equal label"),
        (made_training(VALUES), made_training(VALUES, name="two", metric="nsd"), "dsc", "not measured in it"),
        (
            made_training(VALUES, metric="nsd"),
            made_training(
                VALUES, metric="nsd", name="two", settings=SETTINGS.model_copy(update={"nsd_tolerance_um": 2.0})
            ),
            "nsd",
            "their tolerances are 1 and 2 µm",
        ),
    ],
)
def test_what_cannot_be_compared_is_not_better_and_says_why(
    one: Training, other: Training, metric: str, why: str
) -> None:
    """Nothing in common, another metric, another tolerance: a person decides."""
    found = compare(one, other, metric)
    assert (found.difference, found.is_better) == (None, False)
    assert why in found.words()
