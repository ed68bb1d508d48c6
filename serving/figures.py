"""What Prometheus reads at /metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS_S = (0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600)


class Figures:
    """The service's own counters, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter("capillary_jobs_accepted", "Jobs taken", registry=self.registry)
        self.ended = Counter("capillary_jobs_ended", "Jobs that ended, by state", ["state"], registry=self.registry)
        self.seconds = Histogram(
            "capillary_job_seconds", "Seconds of a stack in the worker", buckets=BUCKETS_S, registry=self.registry
        )
        self.answers = Counter(
            "capillary_http_answers", "Answers, by route and status", ["route", "status"], registry=self.registry
        )
        self.swaps = Counter("capillary_model_swaps", "Models that took over", registry=self.registry)
        self.refused_models = Counter(
            "capillary_models_refused", "Models that failed their start or self-test", registry=self.registry
        )
        self.waiting = Gauge("capillary_jobs_waiting", "Jobs in the queue", registry=self.registry)
        self.model = Gauge(
            "capillary_model_info", "The model that answers", ["name", "version", "sha256"], registry=self.registry
        )

    def watch_queue(self, length: Callable[[], float]) -> None:
        """Read the queue's length whenever it is asked for."""
        self.waiting.set_function(length)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
