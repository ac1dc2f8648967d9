"""The merger: counters never fall, gauges of the dead do not count."""

from outpost.admin.metrics import Merger
from outpost.gateway.metrics import GatewayMetrics
from outpost.telemetry import Metric


def value(text: bytes, name: str) -> float:
    """Sum of all samples of a name."""
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name]
    assert found, f"{name} is not there"
    return sum(found)


def worker(requests: int, in_flight: int) -> str:
    """What one worker says."""
    metrics = GatewayMetrics()
    for _ in range(requests):
        metrics.finished("acme", 200, 0.02)
    metrics.in_flight(in_flight)
    return metrics.render().decode()


REQUESTS = f"{Metric.REQUESTS.value}_total"


def test_workers_are_added_up() -> None:
    merger = Merger()
    merger.update("0-1", worker(3, 1))
    merger.update("1-1", worker(4, 2))
    text = merger.render()
    assert value(text, REQUESTS) == 7
    assert value(text, Metric.IN_FLIGHT.value) == 3
    assert value(text, f"{Metric.DURATION.value}_count") == 7
    assert value(text, f"{Metric.DURATION.value}_bucket") == 7 * 12  # 0.02 s counts in every bucket from 0.025 s on


def test_a_newer_snapshot_replaces_the_older_one() -> None:
    merger = Merger()
    merger.update("0-1", worker(3, 1))
    merger.update("0-1", worker(5, 0))
    assert value(merger.render(), REQUESTS) == 5


def test_a_worker_that_died_keeps_its_counters_and_loses_its_gauges() -> None:
    merger = Merger()
    merger.update("0-1", worker(3, 9))
    merger.update("0-2", worker(1, 1))
    text = merger.render()
    assert value(text, REQUESTS) == 4
    assert value(text, Metric.IN_FLIGHT.value) == 1


def test_another_worker_s_restart_takes_no_gauge_away() -> None:
    merger = Merger()
    merger.update("0-1", worker(0, 2))
    merger.update("10-1", worker(0, 3))
    merger.update("0-2", worker(0, 4))
    assert value(merger.render(), Metric.IN_FLIGHT.value) == 7


def test_labels_stay_apart() -> None:
    one, other = GatewayMetrics(), GatewayMetrics()
    one.finished("acme", 200, 0.1)
    other.finished("globex", 403, 0.1)
    merger = Merger()
    merger.update("0-1", one.render().decode())
    merger.update("1-1", other.render().decode())
    text = merger.render().decode()
    assert f'{REQUESTS}{{org="acme",status="200"}} 1.0' in text
    assert f'{REQUESTS}{{org="globex",status="403"}} 1.0' in text


def test_without_workers_there_is_an_empty_text() -> None:
    assert Merger().render().strip() == b""
