from stages.common.metrics import METRICS


def test_overlaps_are_better_the_larger_and_distances_and_errors_the_smaller() -> None:
    """The arrow in a table's head, and which of two models is the better one, follow from this."""
    better = {name: metric.arrow for name, metric in METRICS.items()}
    assert better == {
        "dsc": "↑",
        "centreline_dsc": "↑",
        "measured_masd_um": "↓",
        "measured_masd_voxels": "↓",
        "hd95_um": "↓",
        "nsd": "↑",
        "betti_0_error": "↓",
        "betti_1_error": "↓",
    }
    assert all(metric.less_is_better is (metric.arrow == "↓") for metric in METRICS.values())


def test_a_metric_has_as_many_digits_as_mean_something() -> None:
    """Three of a share, two of a distance, one of a mean count; the name is the key of the table."""
    for name, metric in METRICS.items():
        assert metric.name == name
        digits = 1 if "betti" in name else 2 if name.endswith(("_um", "_voxels")) else 3
        assert metric.digits == digits, name
        assert ("µm" in metric.title) is name.endswith("_um")
