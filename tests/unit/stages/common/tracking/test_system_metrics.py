from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

from stages.common.tracking.system_metrics import _sample


class Counting(BaseMetricsMonitor):
    """Measures 1, 2, 3, …"""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def collect_metrics(self) -> None:
        """Keep the next number."""
        self.calls += 1
        self._metrics["calls"].append(self.calls)

    def aggregate_metrics(self) -> dict[str, float]:
        """The mean of what is kept."""
        return {key: sum(values) / len(values) for key, values in self._metrics.items()}


def test_each_sample_stands_by_itself() -> None:
    """What a monitor kept for the sample before is not part of this one."""
    monitors = [Counting()]
    assert [_sample(monitors) for _ in range(3)] == [{"calls": 1.0}, {"calls": 2.0}, {"calls": 3.0}]
