"""Allowances per key, over time and over workers; listeners stay off open networks."""

import socket
from pathlib import Path

import pytest

from outpost.gateway import server
from outpost.gateway.limits import MAX_BUCKETS, InFlight, OverloadedError, RequestLimitError, RequestRate
from tests.unit.gateway.harness import stack

WHO = ("acme", "key-1")


def test_an_allowance_is_a_minute_at_most_and_comes_back_evenly() -> None:
    rate = RequestRate()
    for _ in range(60):
        rate.take(WHO, 60, 0.0)
    with pytest.raises(RequestLimitError) as refused:
        rate.take(WHO, 60, 0.5)
    assert refused.value.reset_seconds == 1
    rate.take(WHO, 60, 1.1)
    with pytest.raises(RequestLimitError):
        rate.take(WHO, 60, 1.2)
    rate.take(("acme", "key-2"), 60, 1.2)


def test_workers_share_an_allowance() -> None:
    rate = RequestRate(share=4)
    for _ in range(5):
        rate.take(WHO, 20, 0.0)
    with pytest.raises(RequestLimitError):
        rate.take(WHO, 20, 0.0)


def test_no_allowance_means_no_limit() -> None:
    rate = RequestRate()
    for _ in range(1_000):
        rate.take(WHO, 0, 0.0)


def test_buckets_of_idle_keys_are_forgotten() -> None:
    rate = RequestRate()
    for number in range(MAX_BUCKETS):
        rate.take(("acme", str(number)), 5, 0.0)
    rate.take(WHO, 5, 61.0)
    assert len(rate._buckets) == 1


def test_slots_are_given_back_even_after_an_error() -> None:
    slots = InFlight(1)
    with slots, pytest.raises(OverloadedError):
        slots.__enter__()
    assert slots.count == 0


async def test_a_plain_listener_beyond_loopback_is_refused(tmp_path: Path) -> None:
    async with stack(tmp_path) as outpost:
        with socket.create_server(("0.0.0.0", 0)) as listener, pytest.raises(server.PlainListenerError) as refused:
            await server.serve(outpost.gateway, listener, None)
        assert refused.value.code == "settings.plain_listener"
    assert server.is_loopback("::1")
    assert server.is_loopback("localhost")
    assert not server.is_loopback("example.com")
