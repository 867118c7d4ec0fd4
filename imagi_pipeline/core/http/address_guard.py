"""Judge which addresses may be dialled: those of the public internet, and those that the settings allow.

These are pure rules; client.py asks them about the very address that is dialled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

# IANA's special-purpose registries, written out because `is_global` differs between versions of Python.
_REFUSED_NETWORKS: tuple[IPNetwork, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, cloud metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocol assignments, Teredo, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
# Everything else in IPv6 is loopback, local, multicast, translated or not assigned.
_IPV6_GLOBAL_UNICAST = IPv6Network("2000::/3")

# `is_loopback` is not used: for IPv4-mapped addresses it differs between Python 3.13 and earlier versions.
_LOOPBACK_AND_UNSPECIFIED = IPv6Network("::/127")
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
_IPV4_IN_LAST_32_BITS = tuple(
    IPv6Network(network)
    for network in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64, local use
    )
)


def may_dial(address: str, allowed_networks: Iterable[IPNetwork] = ()) -> bool:
    """Return whether an IP address is on the public internet or in one of `allowed_networks`.

    An IPv6 address that carries an IPv4 address is judged by both; an IPv4-mapped one only by the IPv4
    address, since it is that which the system dials.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip in _IPV4_MAPPED:
        ip = IPv4Address(int(ip) & 0xFFFF_FFFF)
    return all(
        _is_public(candidate) or any(candidate in network for network in allowed_networks)
        for candidate in (ip, *_embedded_ipv4(ip))
    )


def _is_public(ip: IPAddress) -> bool:
    if ip.version == 6 and ip not in _IPV6_GLOBAL_UNICAST:
        return False
    return not any(ip in network for network in _REFUSED_NETWORKS)


def _embedded_ipv4(ip: IPAddress) -> Iterator[IPv4Address]:
    if isinstance(ip, IPv4Address) or ip in _LOOPBACK_AND_UNSPECIFIED:
        return
    if ip.sixtofour:
        yield ip.sixtofour
    if ip.teredo:
        yield from ip.teredo
    if any(ip in network for network in _IPV4_IN_LAST_32_BITS):
        yield IPv4Address(int(ip) & 0xFFFF_FFFF)
