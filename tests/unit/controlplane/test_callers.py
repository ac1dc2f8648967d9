"""Which address a call comes from: of the peer, or what an ingress itself saw of it."""

from typing import Any

import pytest

from controlplane.rpc.callers import FORWARDED_FOR, Callers
from tests.unit.controlplane.machines import refused

INGRESS = "spiffe://outpost.internal/ingress/edge"
OUTPOST = "spiffe://outpost.internal/org/acme/outpost/op-0123456789abcdef"


class Call:
    """A call as gRPC shows it."""

    def __init__(self, uri: str, *forwarded: str | bytes) -> None:
        self._uri = uri
        self._forwarded = forwarded

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"peer_spiffe_id": [self._uri.encode()]}

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return tuple((FORWARDED_FOR, each) for each in self._forwarded)

    def peer(self) -> str:
        return "ipv4:192.0.2.7:4711"


def source(call: Call, *, behind_ingress: bool = True) -> str:
    gatekeeper: Any = None  # nobody is proved here
    return Callers(gatekeeper, lambda: behind_ingress).source(call)


SEEN: dict[str, tuple[str, str]] = {
    # name: what the ingress passes on, what counts
    "one address": ("198.51.100.2", "198.51.100.2"),
    "an address with a port": ("198.51.100.2:50123", "198.51.100.2"),
    "an address of IPv6": ("2001:db8::2", "2001:db8::2"),
    "the same with a port": ("[2001:db8::2]:50123", "2001:db8::2"),
    "one that the caller wrote before it": ("203.0.113.9, 198.51.100.2", "198.51.100.2"),
    "so many before it that the first 64 characters are the caller's": (
        "203.0.113.9," + " " * 64 + "203.0.113.9, 198.51.100.2",
        "198.51.100.2",
    ),
    "a thousand before it": ("203.0.113.9, " * 1000 + "198.51.100.2", "198.51.100.2"),
    "an address of 64 characters in front": ("x" * 51 + ",203.0.113.9,198.51.100.2", "198.51.100.2"),
}


@pytest.mark.parametrize("name", SEEN)
def test_the_last_address_is_what_the_ingress_saw(name: str) -> None:
    passed_on, counts = SEEN[name]
    assert source(Call(INGRESS, passed_on)) == source(Call(INGRESS, passed_on.encode())) == counts


NONSENSE = {
    "nothing": (),
    "an empty header": ("",),
    "two headers": ("198.51.100.2", "198.51.100.2"),
    "a name": ("edge.example",),
    "a name after an address": ("198.51.100.2, unknown",),
    "a comma at the end": ("198.51.100.2,",),
    "65 characters": ("1" * 65,),
    "no ASCII": ("198.51.100.2, ٣".encode(),),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_what_is_no_address_is_refused(name: str) -> None:
    with refused("identity.refused"):
        source(Call(INGRESS, *NONSENSE[name]))


def test_the_header_of_anybody_else_is_nothing() -> None:
    assert source(Call(OUTPOST, "198.51.100.2")) == "192.0.2.7"
    assert source(Call(INGRESS, "198.51.100.2"), behind_ingress=False) == "192.0.2.7"
