"""What an outpost says of itself stays within bounds, and is safe on a terminal."""

from collections.abc import Callable

import pytest
from outpost_wire.v1 import enrollment_pb2, sync_pb2

from controlplane.rpc import codec

VERSIONS: dict[str, tuple[str, bool]] = {
    "a release": ("1.2.3", True),
    "a local build": ("1.2.3rc1.dev4+g0a1b2c_x", True),
    "none": ("", True),
    "at the bound": ("1" * 32, True),
    "one beyond": ("1" * 33, False),
    "a sign that clears a line": ("1\x1b[2K", False),
    "a line end": ("1\n", False),
    "letters that turn the text around": ("1\u202e2", False),
}


@pytest.mark.parametrize("case", VERSIONS)
def test_a_version_is_plain_text(case: str) -> None:
    version, fits = VERSIONS[case]
    enrolling = enrollment_pb2.EnrollRequest(token_org="acme", software_version=version, audit_log_public_key=bytes(32))
    hello = sync_pb2.Hello(protocol_min=1, protocol_max=1, software_version=version, boot_id="0" * 32)
    status = sync_pb2.Status(software_version=version)
    messages: tuple[Callable[[], object], ...] = (
        lambda: codec.check_hello(hello),
        lambda: codec.status(status),
        lambda: codec.enrollment_call(enrolling, "ipv4:192.0.2.1"),
    )
    for read in messages:
        if fits:
            assert read() is not None
            continue
        with pytest.raises(codec.WireError) as caught:
            read()
        assert caught.value.field == "software_version"


@pytest.mark.parametrize(("size", "fits"), [(31, True), (32, False), (60_000, False)])
def test_the_name_of_an_org_is_no_way_to_fill_memory(size: int, fits: bool) -> None:
    message = enrollment_pb2.EnrollRequest(token_org="a" * size, audit_log_public_key=bytes(32))
    if fits:
        assert codec.enrollment_call(message, "ipv4:192.0.2.1").org == "a" * size
        return
    with pytest.raises(codec.WireError):
        codec.enrollment_call(message, "ipv4:192.0.2.1")
