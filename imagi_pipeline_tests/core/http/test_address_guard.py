from ipaddress import ip_network

import pytest

from imagi_pipeline.core.http.address_guard import may_dial

BLOCKED = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:db8::1",
    "2002:0808:0808::1",
    "2002:7f00:0001::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "::ffff:8.8.8.8",
    "100.63.255.255",
    "172.32.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
]


@pytest.mark.parametrize("address", BLOCKED)
def test_an_address_that_is_not_public_is_not_dialable(address: str) -> None:
    assert not may_dial(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_dialled(address: str) -> None:
    assert may_dial(address)


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("10.1.2.3", ["10.1.2.3/32"], True),
        ("10.1.2.3", ["192.168.0.0/16"], False),
        ("fd00::1", ["10.0.0.0/8", "fd00::/8"], True),
        ("::1", ["::1/128"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("64:ff9b::8.8.8.8", ["64:ff9b::/96"], True),
        ("64:ff9b::10.0.0.1", ["64:ff9b::/96"], False),
        ("64:ff9b::10.0.0.1", ["64:ff9b::/96", "10.0.0.0/8"], True),
        ("2002:7f00:1::1", ["2002::/16"], False),
        ("2001:0:808:808:0:0:f5ff:fffe", ["2001::/32"], False),
        ("::ffff:10.0.0.1", ["10.0.0.0/8"], True),
        ("::ffff:127.0.0.1", ["::/0"], False),
        ("::ffff:169.254.169.254", ["::/0"], False),
        ("64:ff9b::127.0.0.1", ["::/0"], False),
        ("::", ["::/0"], True),
    ],
)
def test_an_allowed_network_lets_its_addresses_through_and_no_embedded_ones(
    address: str, networks: list[str], allowed: bool
) -> None:
    assert may_dial(address, [ip_network(network) for network in networks]) is allowed
