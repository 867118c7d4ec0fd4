from __future__ import annotations

import pytest

from imagi_pipeline.core.http.target import Target

HERE = Target.of("https://a.com/folder/page?x=1")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://a.com", "/"),
        ("https://a.com/%7E/%2f?b=%2F#part", "/%7E/%2f?b=%2F"),
        ("https://a.com/?", "/?"),
        ("https://a.com/a b/ü", "/a%20b/%C3%BC"),
    ],
)
def test_a_path_stays_as_it_is_written_but_for_what_no_request_line_can_hold(url: str, path: str) -> None:
    assert Target.of(url).path == path


def test_a_target_knows_its_parts() -> None:
    target = Target.of("HTTP://Shop.Example:8080/a#b")
    assert (target.url, target.origin) == ("http://shop.example:8080/a", "http://shop.example:8080")
    assert target.host == "shop.example"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://a.com/", "its scheme is 'ftp'"),
        ("https://me:pass@a.com/", "user name or password"),
        ("https:///x", "names no host"),
        ("https://a.com/" + "x" * 9000, "longer than 8,192"),
        ("https://a..com/", "is no host name"),
    ],
)
def test_a_url_that_is_no_target_says_why(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Target.of(url)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (b"/x", "https://a.com/x"),
        (b"x?y", "https://a.com/folder/x?y"),
        (b"//b.com/x", "https://b.com/x"),
        (b" \\x\\y?a\\b ", "https://a.com/x/y?a%5Cb".replace("%5C", "\\")),
        ("/ü".encode("latin-1"), "https://a.com/%FC"),
        (b"/a\r\n b", "https://a.com/a%20b"),
    ],
)
def test_a_redirect_is_read_as_browsers_read_it(location: bytes, url: str) -> None:
    assert HERE.redirected(location).url == url


def test_an_empty_redirect_leads_nowhere() -> None:
    with pytest.raises(ValueError, match="empty"):
        HERE.redirected(b" \r\n")
