"""The ends of streams go before new sets: which changes make offers wait, how long, and that none is forgotten."""

import asyncio
from pathlib import Path

import pytest

from controlplane.rpc import headstart
from controlplane.rpc.headstart import HeadStart
from controlplane.services.views import OrgView
from tests.unit.controlplane.bed import bed

PATIENCE = 10.0


async def test_offers_wait_for_a_withdrawal_and_come_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headstart, "SECONDS", 0.05)
    monkeypatch.setattr(headstart, "MOST_SECONDS", 0.1)
    made: asyncio.Queue[str] = asyncio.Queue()
    start = HeadStart(lambda view: made.put_nowait(view.org))
    async with bed(tmp_path) as plane:
        first, second = [(await plane.enrolled(name)).outpost.id for name in ("first", "second")]
        view: OrgView = await plane.views.refresh("acme")
        both = frozenset({first, second})
        assert not start.is_given(view, both)  # nobody is withdrawn
        await plane.administration.revoke("acme", "first", "")
        view = await plane.views.refresh("acme")
        assert start.is_given(view, both)
        assert start.is_given(view, frozenset())  # a set that comes meanwhile waits too
        assert made.empty()
        assert await asyncio.wait_for(made.get(), PATIENCE) == "acme"
        assert not start.is_given(view, both)  # it is known by now: offers do not wait for it again


async def test_many_withdrawals_do_not_make_offers_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headstart, "SECONDS", 3600.0)
    monkeypatch.setattr(headstart, "MOST_SECONDS", 0.05)
    made: asyncio.Queue[str] = asyncio.Queue()
    start = HeadStart(lambda view: made.put_nowait(view.org))
    async with bed(tmp_path) as plane:
        for name in ("first", "second"):
            outpost = (await plane.enrolled(name)).outpost.id
            await plane.administration.revoke("acme", name, "")
            assert start.is_given(await plane.views.refresh("acme"), frozenset({outpost}))
        assert await asyncio.wait_for(made.get(), PATIENCE) == "acme"
