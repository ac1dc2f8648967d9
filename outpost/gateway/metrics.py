"""Figures of one worker, in a registry of its own. Labels are few and bounded: org, action, code, entity type."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from outpost.core.decision import EntityCount
from outpost.telemetry import Metric

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class GatewayMetrics:
    """What a worker counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            Metric.REQUESTS, "Requests of authenticated callers", ["org", "status"], registry=self.registry
        )
        self._unauthenticated = Counter(
            Metric.REFUSED_UNAUTHENTICATED, "Requests without a valid key", ["code"], registry=self.registry
        )
        self._decisions = Counter(
            Metric.DECISIONS, "Verdicts of policy", ["org", "direction", "action"], registry=self.registry
        )
        self._findings = Counter(
            Metric.FINDINGS, "Findings by type", ["org", "direction", "entity_type"], registry=self.registry
        )
        self._provider_errors = Counter(
            Metric.PROVIDER_ERRORS, "Failures of providers", ["org", "code"], registry=self.registry
        )
        self._bytes = Counter(Metric.BYTES, "Bytes by kind", ["org", "kind"], registry=self.registry)
        self._in_flight = Gauge(Metric.IN_FLIGHT, "Requests being served", registry=self.registry)
        self._canary = Gauge(
            Metric.CANARY, "1 while the canary is stopped as it must be", ["org"], registry=self.registry
        )
        self._duration = Histogram(
            Metric.DURATION, "Time of whole requests", ["org"], buckets=_SECONDS, registry=self.registry
        )
        self._commit = Histogram(
            Metric.COMMIT, "Time until a record is on disk", buckets=_SECONDS, registry=self.registry
        )

    def refused(self, code: str) -> None:
        """Count a request without a valid key."""
        self._unauthenticated.labels(code).inc()

    def finished(self, org: str, status: int, seconds: float) -> None:
        """Count a request and its time."""
        self._requests.labels(org, str(status)).inc()
        self._duration.labels(org).observe(seconds)

    def decided(self, org: str, direction: str, action: str, entities: Iterable[EntityCount]) -> None:
        """Count a verdict and what was found."""
        self._decisions.labels(org, direction, action).inc()
        for entity in entities:
            self._findings.labels(org, direction, entity.entity_type).inc(entity.count)

    def provider_failed(self, org: str, code: str) -> None:
        """Count a failure of a provider."""
        self._provider_errors.labels(org, code).inc()

    def moved(self, org: str, kind: str, size: int) -> None:
        """Count bytes: received, inspected, released."""
        self._bytes.labels(org, kind).inc(size)

    def committed(self, seconds: float) -> None:
        """Note how long the ledger took."""
        self._commit.observe(seconds)

    def in_flight(self, count: int) -> None:
        """Note how many requests are being served."""
        self._in_flight.set(count)

    def canary(self, org: str, *, stopped: bool) -> None:
        """Note what became of the canary."""
        self._canary.labels(org).set(1 if stopped else 0)

    def render(self) -> bytes:
        """All figures in the text format of Prometheus."""
        return generate_latest(self.registry)
