"""Which addresses may connect to a listener."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_MAPPED_BITS = 96


class AllowList:
    """Networks whose clients may connect; nobody else may, not even from loopback.

    An IPv4 address that comes mapped into IPv6 (`::ffff:192.0.2.1`) is that IPv4 address. Raises ValueError
    for what is no network.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [_unmapped_network(ip_network(text)) for text in networks]

    def allows(self, address: str) -> bool:
        """Whether a client of this numeric address may connect."""
        client = _unmapped(ip_address(address))
        return any(client in network for network in self._networks)


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _unmapped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    first = _unmapped(network.network_address)
    if isinstance(network, IPv4Network) or isinstance(first, IPv6Address) or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((first, network.prefixlen - _MAPPED_BITS))
