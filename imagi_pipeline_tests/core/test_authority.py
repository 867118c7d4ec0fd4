from __future__ import annotations

import pytest

from imagi_pipeline.core.authority import normal_authority
from imagi_pipeline.core.errors import UrlError


@pytest.mark.parametrize(
    ("text", "dialled"),
    [
        ("Shop.Example", "shop.example"),
        ("shop.example:443", "shop.example"),
        ("shop.example:", "shop.example"),
        ("shop.example:0080", "shop.example:80"),
        ("bücher.example:8443", "xn--bcher-kva.example:8443"),
        ("[2001:DB8::0001]:443", "[2001:db8::1]"),
        ("my_shop.example.", "my_shop.example."),
    ],
)
def test_a_host_is_written_as_it_is_dialled(text: str, dialled: str) -> None:
    assert normal_authority(text, 443) == dialled


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("shop.example:0", "'0' is no port"),
        ("shop.example:65536", "'65536' is no port"),
        ("shop.example:٨٠", "is no port"),
        ("-shop-", "is no host name"),
        ("a..b", "is no host name"),
        ("", "is no host name"),
        ("a." * 127 + "b", "too long"),
        ("[1:2]", "is no IPv6 address"),
        ("\u2488com", "is no host name"),
    ],
)
def test_what_cannot_be_dialled_says_why(text: str, why: str) -> None:
    with pytest.raises(UrlError, match=why):
        normal_authority(text, 443)
