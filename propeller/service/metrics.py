"""Figures of a running server, in the text form that Prometheus reads.

metrics = Metrics()
metrics.answered("/predict", 200, seconds=0.012)
metrics.text()          # bytes, for GET /metrics
"""

from __future__ import annotations

from typing import Any, Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters and histograms of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        options: dict[str, Any] = {"registry": self.registry, "namespace": "propeller"}
        self._requests = Counter("requests", "Requests answered", ["route", "status"], **options)
        self._seconds = Histogram(
            "request_seconds", "From a request's headers to its answer", ["route"], buckets=SECONDS, **options
        )
        self._batch_sizes = Histogram("batch_size", "Rows of a batch", buckets=SIZES, **options)
        self._batch_seconds = Histogram(
            "batch_seconds", "From sending a batch to its outputs", buckets=SECONDS, **options
        )
        self._restarts = Counter("worker_restarts", "Worker processes started in place of dead ones", **options)
        self._refused = Counter("connections_refused", "Connections over the limit", **options)
        self._evicted = Counter("connections_evicted", "Idle connections ended to make room", **options)
        self._options = options

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is ``read()``, asked for when the text is made."""
        Gauge(name, text, **self._options).set_function(read)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request got its answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """A worker finished a batch."""
        self._batch_sizes.observe(size)
        self._batch_seconds.observe(seconds)

    def restarted(self) -> None:
        """A process is started in place of a dead one."""
        self._restarts.inc()

    def refused(self) -> None:
        """A connection found no room."""
        self._refused.inc()

    def evicted(self) -> None:
        """A connection made room."""
        self._evicted.inc()

    def text(self) -> bytes:
        """The exposition, bytes."""
        return generate_latest(self.registry)
