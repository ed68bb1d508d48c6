"""The figure by which tasks on ECS are started and ended."""

import json

from serving.figures import Figures
from serving.jobs.waiting import line_of, waiting


def test_the_length_of_the_queue_reaches_cloudwatch() -> None:
    """As the service's own figures have it, in the embedded metric format with the template's names."""
    figures = Figures()
    figures.watch_queue(lambda: 7)
    count = waiting(figures.text().decode())
    assert count == 7
    line = json.loads(line_of("capillary-serve", count, 12.5))
    assert (line["Service"], line["JobsWaiting"], line["_aws"]["Timestamp"]) == ("capillary-serve", 7, 12500)
    (metric,) = line["_aws"]["CloudWatchMetrics"]
    assert (metric["Namespace"], metric["Metrics"][0]["Name"], metric["Dimensions"]) == (
        "Capillary",
        "JobsWaiting",
        [["Service"]],
    )


def test_other_figures_are_no_length() -> None:
    assert waiting("# HELP capillary_jobs_waiting Jobs\ncapillary_jobs_accepted_total 3.0\n") is None
