"""What hosts of the world send, as raw bytes, and what a Fetcher makes of it."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import brotli
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.fetching import FetchedImage, Fetcher
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline_tests.raw_server import RawAnswer, RawServer, answer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMITS = FetchLimits(
    connect_timeout=5,
    read_timeout=5,
    deadline=10,
    max_bytes=100_000,
    allowed_networks=(ip_network("127.0.0.0/8"),),
)
BODY = bytes(range(256)) * 20
CHUNKED = b"Transfer-Encoding: chunked"
BROKEN = ErrorCode.CONNECTION_ERROR


def redirect(location: bytes, *lines: bytes, status: bytes = b"302 Found") -> bytes:
    return answer(b"", b"Location: " + location, *lines, status=status)


def fetched(answers: dict[bytes, RawAnswer], path: str = "/a", limits: FetchLimits = LIMITS) -> FetchedImage:
    with RawServer(answers) as server, Fetcher(limits) as fetcher:
        image = fetcher.fetch(server.url(path))
    assert image is not None
    return image


def failed(raw: RawAnswer, limits: FetchLimits = LIMITS) -> FetchError:
    with RawServer({b"/a": raw}) as server, Fetcher(limits) as fetcher, pytest.raises(FetchError) as caught:
        fetcher.fetch(server.url("/a"))
    return caught.value


# Requests


@pytest.mark.parametrize(
    "path",
    [
        "/%7Euser/a.jpg",
        "/a%2fb%2Fc.jpg?X-Signature=%2b%2B%2D",
        "/a/../b/./c.jpg",
        "//double//slashes.jpg",
        "/a.jpg?",
        "/a.jpg?q=[1]&r={2}|3",
        "/50%.jpg",
    ],
)
def test_a_path_is_asked_for_as_it_is_written(path: str) -> None:
    with RawServer({path.encode(): answer(BODY)}) as server, Fetcher(LIMITS) as fetcher:
        assert fetcher.fetch(server.url(path))
        assert server.asked == [path.encode()]


@pytest.mark.parametrize(
    ("path", "asked"), [("/a b.jpg", b"/a%20b.jpg"), ("/\u00e9.jpg?\u00e4", b"/%C3%A9.jpg?%C3%A4")]
)
def test_what_no_request_line_can_hold_is_encoded(path: str, asked: bytes) -> None:
    with RawServer({asked: answer(BODY)}) as server, Fetcher(LIMITS) as fetcher:
        assert fetcher.fetch(server.url(path))


def test_a_host_sees_the_user_agent_and_the_referer_of_the_limits() -> None:
    limits = FetchLimits(
        allowed_networks=LIMITS.allowed_networks, user_agent="Shop/1.0", sends_origin_as_referer=True
    )
    with RawServer({b"/a?b": answer(BODY)}) as server, Fetcher(limits) as fetcher:
        fetcher.fetch(server.url("/a?b"))
        (request,) = server.requests
        assert b"\r\nUser-Agent: Shop/1.0\r\n" in request
        assert f"\r\nReferer: {server.url('/')}\r\n".encode() in request


def test_nothing_of_the_environment_reaches_a_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with RawServer({b"/a": answer(BODY)}) as server, Fetcher(LIMITS) as fetcher:
        assert fetcher.fetch(server.url("/a"))
        (request,) = server.requests
    assert b"authorization" not in request.lower()
    assert b"referer" not in request.lower()


# Redirects and cookies


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        (b"/b\\c.jpg", b"/b/c.jpg"),
        (b"/b?c=d\\e", b"/b?c=d\\e"),
        (b"/70%xy%20off.jpg", b"/70%xy%20off.jpg"),
        (b"/two words.jpg", b"/two%20words.jpg"),
        ("/b\u00fccher".encode("latin-1"), b"/b%FCcher"),
        ("/b\u00fccher".encode(), b"/b%C3%BCcher"),
        (b"\t /a%7Eb%2fc ", b"/a%7Eb%2fc"),
    ],
)
def test_a_location_is_read_as_browsers_read_it(location: bytes, asked: bytes) -> None:
    assert fetched({b"/a": redirect(location), asked: answer(BODY)}).data == BODY


def test_a_cookie_is_kept_for_the_chain_of_redirects_and_no_longer() -> None:
    def wall(request: bytes) -> bytes:
        return (
            answer(BODY) if b"Cookie: pass=1" in request else redirect(b"/a", b"Set-Cookie: pass=1; Path=/")
        )

    with RawServer({b"/a": wall}) as server, Fetcher(LIMITS) as fetcher:
        for _ in range(2):
            assert fetcher.fetch(server.url("/a"))
        assert [b"Cookie: pass=1" in request for request in server.requests] == [False, True, False, True]


# Answers that are odd and whole


def many_lines(count: int) -> list[bytes]:
    return [b"X-%d: y" % number for number in range(count)]


@pytest.mark.parametrize(
    "raw",
    [
        answer(BODY, *many_lines(500)),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + answer(BODY),
        b"HTTP/1.1 102 Processing\r\n\r\n" * 5 + answer(BODY),
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(BODY),
        answer(BODY, b"X-Folded: one\r\n two"),
        answer(BODY, b"X-Space : y"),
        answer(BODY, b"there is no colon in this line"),
        b"HTTP/1.1 103 Early\r\nno colon\r\n\r\n" + answer(BODY, b"nor here", *many_lines(300), length=False),
        answer(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), b"no colon", CHUNKED, length=False),
        answer(gzip.compress(BODY), b"no colon", b"Content-Encoding: gzip"),
        answer(BODY, b"X-Latin: gr\xfc\xdfe"),
        answer(BODY, end=b"\n"),
        answer(BODY, status=b"200"),
        answer(BODY, length=False),
        answer(b"%x;ext=1\r\n%s\r\n0\r\nX-T: 1\r\n\r\n" % (len(BODY), BODY), CHUNKED, length=False),
        answer(BODY, b"Content-Encoding: aws-chunked"),
        answer(BODY, b"Content-Encoding: identity"),
        answer(gzip.compress(BODY), b"Content-Encoding: gzip"),
        answer(gzip.compress(BODY), b"Content-Encoding: x-gzip"),
        answer(zlib.compress(BODY), b"Content-Encoding: deflate"),
        answer(zlib.compress(BODY)[2:-4], b"Content-Encoding: deflate"),
        answer(brotli.compress(BODY), b"Content-Encoding: br"),
        answer(zstd.compress(BODY), b"Content-Encoding: zstd"),
        answer(gzip.compress(brotli.compress(BODY)), b"Content-Encoding: br, gzip"),
        answer(gzip.compress(brotli.compress(BODY)), b"Content-Encoding: br", b"Content-Encoding: gzip"),
    ],
)  # fmt: skip
def test_an_odd_answer_that_is_whole_is_an_image(raw: bytes) -> None:
    assert fetched({b"/a": raw}).data == BODY


def test_a_host_that_names_no_length_may_have_been_cut() -> None:
    assert not fetched({b"/a": answer(BODY, length=False)}).is_whole
    assert fetched({b"/a": answer(BODY)}).is_whole


def test_the_bytes_are_written_into_what_is_given() -> None:
    class Pieces(list[bytes]):
        write = list.append

    pieces = Pieces()
    with RawServer({b"/a": answer(BODY)}) as server, Fetcher(LIMITS) as fetcher:
        image = fetcher.fetch(server.url("/a"), into=pieces)
    assert image is not None
    assert (b"".join(pieces), image.data, image.size) == (BODY, b"", len(BODY))


# Answers that are none


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        (bytes.fromhex("00001204000000000000030000008000040001000000"), BROKEN, "no HTTP"),
        (BODY, BROKEN, "no HTTP"),
        (answer(BODY, b"Content-Length: 9999", length=False), BROKEN, "too early"),
        (answer(b"ff\r\nshort", CHUNKED, length=False), BROKEN, "too early"),
        (answer(BODY, b"Content-Encoding: gzip"), BROKEN, "not encoded as it says"),
        (answer(gzip.compress(BODY), b"Content-Encoding: " + b"gzip, " * 200), BROKEN, "200 times"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", BROKEN, "without an answer"),
        (answer(BODY, *many_lines(50_000)), BROKEN, "header without end"),
        (answer(BODY, b"X: " + b"y" * 1_000_000), BROKEN, "header without end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, BROKEN, "header without end"),
        (b"", BROKEN, "without an answer"),
        (answer(BODY, b"no colon", b"Content-Length: 9999", length=False), BROKEN, "too early"),
        (answer(b"ff\r\nshort", b"no colon", CHUNKED, length=False), BROKEN, "too early"),
        (answer(BODY, b"no colon", *many_lines(50_000)), BROKEN, "header without end"),
    ],
)  # fmt: skip
def test_a_message_names_what_is_wrong_with_an_answer(raw: bytes, code: ErrorCode, words: str) -> None:
    error = failed(raw)
    assert error.kind is code
    assert error.transient
    assert words in error.message


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, zlib.compress, brotli.compress, lambda data: gzip.compress(gzip.compress(data))],
)
def test_a_decompression_bomb_ends_at_the_limit(compress: Callable[[bytes], bytes]) -> None:
    name = {gzip.compress: b"gzip", zlib.compress: b"deflate", brotli.compress: b"br"}.get(
        compress, b"gzip, gzip"
    )
    error = failed(answer(compress(bytes(20_000_000)), b"Content-Encoding: " + name))
    assert error.kind is ErrorCode.TOO_LARGE


def test_what_a_host_writes_behind_its_status_is_printable_and_short() -> None:
    for reason in (b"\x1b[2Jred", b"x" * 60_000, b"=HYPERLINK()\x07", b"\xe2\x80\xae\x85\x1c"):
        error = failed(answer(status=b"500 " + reason))
        assert error.kind in (ErrorCode.SERVER_ERROR, ErrorCode.CONNECTION_ERROR)
        assert error.message.isprintable()
        assert len(error.message) < 400


def test_no_header_of_a_host_is_kept_raw() -> None:
    odd = [b'ETag: "a\x0cb"', b"Last-Modified: \x01\x02", b"Content-Type: image/\x1b[31mjpeg" + b"x" * 9000]
    image = fetched({b"/a": answer(BODY, *odd)})
    assert (image.etag, image.last_modified) == (None, None)
    assert image.media_type is not None
    assert image.media_type.isprintable()
    assert len(image.media_type) < 200
    assert fetched({b"/a": answer(BODY, b'ETag: "' + b"e" * 60_000 + b'"')}).etag is None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    status=st.binary(max_size=40),
    lines=st.lists(
        st.binary(max_size=40) | st.sampled_from([b"Content-Length: 3", b"Location: \xff", b"ETag: a"])
    ),
    body=st.binary(max_size=60),
)
def test_whatever_a_host_sends_is_an_image_or_a_failure_with_a_printable_message(
    status: bytes, lines: list[bytes], body: bytes
) -> None:
    raw = b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", body])
    with RawServer({b"/a": raw}) as server, Fetcher(LIMITS) as fetcher:
        outcome: FetchedImage | FetchError | None
        try:
            outcome = fetcher.fetch(server.url("/a"))
        except FetchError as error:
            outcome = error
    if isinstance(outcome, FetchedImage):
        assert outcome.size == len(outcome.data) > 0
    else:
        assert outcome is not None
        assert outcome.message.isprintable()
