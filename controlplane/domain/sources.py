"""Addresses that calls come from, and the networks that a join token may be bound to."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from controlplane.domain.errors import InputError

COURIER = "courier"
"""Where a call comes from that an operator brought in a file; it stands where an address would."""
SITE_BITS = 64  # RFC 4291 §2.5.4: the prefix of one subnet; whoever has one has 2^64 addresses
MAX_ADDRESS = 45  # characters of an IPv6 address that ends in an IPv4 one


class NetworkError(InputError):
    """A network that is not one."""

    code = "source.network"


def plain_address(text: str) -> str:
    """The address in the name of a gRPC peer ("ipv4:192.0.2.1:4711", "ipv6:[2001:db8::1]:4711"), or of a header.

    Returns:
        Canonical text; IPv4 addresses within IPv6 as IPv4. What is no address comes back cut to 45 characters.
    """
    bare = text.replace("%5B", "[").replace("%5D", "]")
    bare = bare.removeprefix("ipv4:").removeprefix("ipv6:")
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(_mapped(ip_address(bare.partition("%")[0])))
    except ValueError:
        return text[:MAX_ADDRESS]


def is_address(text: str) -> bool:
    """Whether a text is an address and nothing else."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def checked_network(text: str) -> str:
    """A network such as 192.0.2.0/24 or an address, in canonical form. Raises NetworkError."""
    try:
        return str(ip_network(text, strict=True))
    except ValueError:
        raise NetworkError(
            "a network is an address or an address with a prefix, such as 192.0.2.0/24",
            field="cidr",
            next_step="write the network's own address before the slash",
        ) from None


def is_within(address: str, network: str) -> bool:
    """Whether an address lies in a network that was checked; one that cannot be read lies in none."""
    try:
        return ip_address(address) in ip_network(network)
    except ValueError:
        return False


def block_of(address: str) -> str:
    """Whom an address belongs to: an IPv6 caller has all addresses of a /64. What is no address is its own block."""
    try:
        found = _mapped(ip_address(address))
    except ValueError:
        return address
    return str(found) if isinstance(found, IPv4Address) else str(IPv6Network((found, SITE_BITS), strict=False))


def _mapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address) and address in _MAPPED:
        return address.ipv4_mapped or address
    return address


_MAPPED = IPv6Network("::ffff:0:0/96")
