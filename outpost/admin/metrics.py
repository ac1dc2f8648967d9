"""Metrics of several workers as one text, without files that outlive their process.

A worker's last figures stay counted after it died, so that counters never fall; its gauges do not.
"""

from collections import defaultdict

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

_Sample = tuple[str, tuple[tuple[str, str], ...]]


class Merger:
    """Adds up the snapshots of workers."""

    def __init__(self) -> None:
        self._snapshots: dict[str, list[Metric]] = {}

    def update(self, worker: str, text: str) -> None:
        """Keep the newest snapshot of one life of a worker ("<index>-<start>")."""
        index = worker.split("-", 1)[0]
        for key, families in self._snapshots.items():
            if key != worker and key.split("-", 1)[0] == index:  # an earlier life: its gauges are over
                families[:] = [family for family in families if family.type != "gauge"]
        self._snapshots[worker] = list(text_string_to_metric_families(text))

    def render(self) -> bytes:
        """The sum, in the text format of Prometheus."""
        kinds: dict[str, Metric] = {}
        sums: dict[str, dict[_Sample, float]] = defaultdict(lambda: defaultdict(float))
        for families in self._snapshots.values():
            for family in families:
                kinds.setdefault(family.name, family)
                for sample in family.samples:
                    if not sample.name.endswith("_created"):
                        sums[family.name][sample.name, tuple(sample.labels.items())] += sample.value
        merged = []
        for name, samples in sums.items():
            metric = Metric(name, kinds[name].documentation, kinds[name].type)
            for (sample_name, labels), value in samples.items():
                metric.add_sample(sample_name, dict(labels), value)
            merged.append(metric)
        return generate_latest(_Fixed(merged))


class _Fixed(CollectorRegistry):
    """A registry of ready-made families."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self):  # type: ignore[no-untyped-def]
        """The families as they are."""
        return iter(self._families)
