"""What /metrics shows, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of this process. Labels are routes, never ids or names of users."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "hermes_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "hermes_http_request_seconds",
            "Time until a request was answered, tails left out.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.tails = Gauge("hermes_tails_open", "Tails open now.", registry=self._registry)
        self.live = Gauge(
            "hermes_executions_live",
            "Executions that have not ended.",
            ("pool",),
            registry=self._registry,
        )
        self.superseded = Gauge(
            "hermes_log_superseded_events",
            "Events that changed nothing.",
            ("topic",),
            registry=self._registry,
        )
        self.malformed = Gauge(
            "hermes_log_malformed_records",
            "Records that no version of Hermes wrote.",
            ("topic",),
            registry=self._registry,
        )
        self.offset = Gauge(
            "hermes_log_next_offset",
            "How far this process has read.",
            ("topic",),
            registry=self._registry,
        )

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)
