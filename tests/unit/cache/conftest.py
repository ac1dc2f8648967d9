import os
from collections.abc import Callable
from pathlib import Path

import pytest

from outpost.cache.durable import Failpoint, no_failpoint
from outpost.cache.seal import Seal
from outpost.cache.slots import SlotCache
from tests.unit.core.bundle.samples import ORG, Forge, forge

WRAPPING_KEY = bytes(range(32))
OUTPOST = "op-0123456789abcdef"
OpenCache = Callable[..., SlotCache]


def seal_of(outpost: str = OUTPOST, org: str = ORG, key: bytes = WRAPPING_KEY) -> Seal:
    return Seal(outpost, org, lambda: key, os.urandom)


@pytest.fixture(scope="session")
def made() -> Forge:
    return forge()


@pytest.fixture
def open_cache(tmp_path: Path) -> OpenCache:
    def opened(seal: Seal | None = None, failpoint: Failpoint = no_failpoint) -> SlotCache:
        return SlotCache(tmp_path / ORG, seal or seal_of(), failpoint)

    return opened
