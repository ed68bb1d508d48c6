import yaml

from stages.common.metrics import METRICS
from tests.support.parts import REPOSITORY


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


def test_params_yaml_measures_every_metric_in_their_order() -> None:
    """Tables and reports follow the file; whoever removes a line there finds the others where they were."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    assert params["evaluation"]["metrics"] == list(METRICS)


def test_a_share_ends_at_one_and_a_tolerance_stands_in_the_title() -> None:
    """Intervals are cut there; NSD alone depends on a tolerance."""
    assert {name for name, metric in METRICS.items() if metric.highest == 1.0} == {"dsc", "centreline_dsc", "nsd"}
    titles = {name: metric.within(1.5).title for name, metric in METRICS.items()}
    assert titles.pop("nsd") == "NSD (τ = 1.5 µm)"
    assert METRICS["nsd"].within(None) is METRICS["nsd"]
    assert all(title == METRICS[name].title for name, title in titles.items())
