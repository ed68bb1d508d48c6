"""The reliability plot: which share of voxels is vessel where the network says so with a given probability."""

from stages.report.drawing.charts import Series, line_chart
from stages.report.drawing.figures import Figure
from stages.report.model import Report

_DIAGONAL = Series(label="calibrated", points=((0.0, 0.0), (1.0, 1.0)), colour=None, dash=1)


def calibration_figures(report: Report) -> list[Figure]:
    """One chart: a line per loss over all its volumes, next to the diagonal on which probabilities are true."""
    lines = [
        Series(
            label=loss,
            points=tuple((one.mean_probability, one.vessel_share) for one in bins),
            colour=report.losses.index(loss) if loss in report.losses else None,
            dots=True,
        )
        for loss, bins in report.calibration_by_loss.items()
    ]
    if not lines:
        return []
    alt = "Share of vessel by predicted probability: " + "; ".join(
        f"{loss}, calibration error {error:.4f}" for loss, error in report.calibration_errors.items()
    )
    svg = line_chart(
        [_DIAGONAL, *lines], x_label="predicted probability", y_label="share of vessel", alt=alt, from_zero=True
    )
    return [Figure(title="reliability", svg=svg)]
