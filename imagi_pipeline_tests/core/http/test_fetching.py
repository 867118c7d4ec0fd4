from __future__ import annotations

import shutil
import socket
import subprocess
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pycurl
import pytest

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.fetching import Fetcher
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline_tests.servers import ETAG, LAST_MODIFIED, MisbehavingServer, body_of

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
MAX_BYTES = 100_000


def limits(**changes: Any) -> FetchLimits:
    values: dict[str, Any] = {
        "allowed_networks": LOOPBACK,
        "connect_timeout": 5,
        "read_timeout": 5,
        "deadline": 10,
        "max_bytes": MAX_BYTES,
    }
    return FetchLimits(**values | changes)


@pytest.fixture(scope="module")
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as server:
        yield server


@pytest.fixture(scope="module")
def fetcher() -> Iterator[Fetcher]:
    with Fetcher(limits()) as fetcher:
        yield fetcher


@pytest.fixture(scope="module")
def fetcher_without_exceptions() -> Iterator[Fetcher]:
    """One that may dial public addresses only."""
    with Fetcher(limits(allowed_networks=())) as fetcher:
        yield fetcher


def failure(fetcher: Fetcher, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(url)
    return caught.value


def requests_of(server: MisbehavingServer, path: str) -> list[dict[str, str]]:
    return [headers for requested, headers in server.requests if requested == path]


# A download that works


def test_an_image_comes_with_what_its_host_says_about_it(server: MisbehavingServer, fetcher: Fetcher) -> None:
    image = fetcher.fetch(server.url("/image/70000"))
    assert image is not None
    assert image.data == body_of(70_000)
    assert image.media_type == "image/jpeg"
    assert image.etag == ETAG
    assert image.last_modified == LAST_MODIFIED
    assert image.final_url == server.url("/image/70000")


@pytest.mark.parametrize("path", ["chunked", "until-close", "gzip"])
def test_every_transfer_of_a_body_gives_the_same_bytes(
    server: MisbehavingServer, fetcher: Fetcher, path: str
) -> None:
    image = fetcher.fetch(server.url(f"/{path}/{MAX_BYTES}"))
    assert image is not None
    assert image.data == body_of(MAX_BYTES)


def test_a_request_names_the_project_and_asks_for_unencoded_images(
    server: MisbehavingServer, fetcher: Fetcher
) -> None:
    fetcher.fetch(server.url("/image/1?headers"))
    (headers,) = requests_of(server, "/image/1?headers")
    assert headers["user-agent"].startswith("imagi_pipeline/")
    assert headers["accept"] == "image/*,*/*;q=0.8"
    assert headers["accept-encoding"] == "identity"
    assert "if-none-match" not in headers


def test_proxies_of_the_environment_are_not_used(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with Fetcher(limits()) as fetcher:
        assert fetcher.fetch(server.url("/image/1"))


@pytest.mark.parametrize("condition", [{"etag": ETAG}, {"last_modified": LAST_MODIFIED}])
def test_an_unchanged_image_is_not_sent_again(
    server: MisbehavingServer, fetcher: Fetcher, condition: dict[str, str]
) -> None:
    assert fetcher.fetch(server.url("/image/100"), **condition) is None  # type: ignore[arg-type]


def test_a_changed_image_is_sent_again(server: MisbehavingServer, fetcher: Fetcher) -> None:
    image = fetcher.fetch(server.url("/image/100"), etag='"version-0"')
    assert image is not None
    assert image.data == body_of(100)


def test_a_condition_holds_behind_redirects(server: MisbehavingServer, fetcher: Fetcher) -> None:
    assert fetcher.fetch(server.url("/redirects/2"), etag=ETAG) is None


def test_not_modified_without_a_condition_is_a_failure(server: MisbehavingServer, fetcher: Fetcher) -> None:
    assert failure(fetcher, server.url("/status/304")).kind is ErrorCode.HTTP_STATUS


def test_one_connection_serves_images_failures_redirects_and_conditional_requests() -> None:
    with MisbehavingServer() as server, Fetcher(limits()) as fetcher:
        fetcher.fetch(server.url("/image/100"))
        failure(fetcher, server.url("/status/404"))
        fetcher.fetch(server.url("/redirects/2"))
        fetcher.fetch(server.url("/image/100"), etag=ETAG)
        fetcher.fetch(server.url("/image/100"))
        assert len(server.connections) == 1


def test_threads_share_a_fetcher(server: MisbehavingServer, fetcher: Fetcher) -> None:
    sizes = range(1, 101)
    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(lambda size: fetcher.fetch(server.url(f"/image/{size}")), sizes))
    assert [image.data for image in images if image] == [body_of(size) for size in sizes]


# Statuses


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (201, ErrorCode.HTTP_STATUS),
        (202, ErrorCode.HTTP_STATUS),
        (204, ErrorCode.EMPTY_BODY),
        (205, ErrorCode.EMPTY_BODY),
        (206, ErrorCode.HTTP_STATUS),
        (300, ErrorCode.HTTP_STATUS),
        (401, ErrorCode.HTTP_STATUS),
        (403, ErrorCode.HTTP_STATUS),
        (404, ErrorCode.HTTP_404),
        (408, ErrorCode.TIMEOUT),
        (410, ErrorCode.HTTP_404),
        (418, ErrorCode.HTTP_STATUS),
        (429, ErrorCode.RATE_LIMITED),
        (500, ErrorCode.SERVER_ERROR),
        (503, ErrorCode.SERVER_ERROR),
        (599, ErrorCode.SERVER_ERROR),
        (999, ErrorCode.HTTP_STATUS),
    ],
)
def test_a_status_has_its_code(
    server: MisbehavingServer, fetcher: Fetcher, status: int, code: ErrorCode
) -> None:
    error = failure(fetcher, server.url(f"/status/{status}"))
    assert error.kind is code
    assert f"127.0.0.1 answered {status}" in error.message
    assert error.retry_after is None


def test_a_non_authoritative_answer_is_an_image(server: MisbehavingServer, fetcher: Fetcher) -> None:
    image = fetcher.fetch(server.url("/status/203"))
    assert image is not None
    assert image.data == b"no image"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        pytest.param(
            format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 3600.0, id="in an hour"
        ),
        (LAST_MODIFIED, 0.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0),
        ("soon", None),
        ("-3", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(
    server: MisbehavingServer, fetcher: Fetcher, header: str, seconds: float | None
) -> None:
    error = failure(fetcher, server.url(f"/status/429?retry_after={quote(header)}"))
    assert error.retry_after == (pytest.approx(seconds, abs=1800) if seconds else seconds)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_redirect_is_followed(server: MisbehavingServer, fetcher: Fetcher, status: int) -> None:
    target = server.url("/image/100", host="localhost")
    image = fetcher.fetch(server.url(f"/redirect-to/{status}?location={quote(target)}"))
    assert image is not None
    assert image.final_url == target
    assert image.data == body_of(100)


def test_twenty_redirects_are_followed_and_one_more_is_not(
    server: MisbehavingServer, fetcher: Fetcher
) -> None:
    image = fetcher.fetch(server.url("/redirects/20"))
    assert image is not None
    assert image.final_url == server.url("/image/100")
    error = failure(fetcher, server.url("/redirects/21"))
    assert error.kind is ErrorCode.TOO_MANY_REDIRECTS


def test_a_location_in_raw_utf8_is_understood(server: MisbehavingServer, fetcher: Fetcher) -> None:
    image = fetcher.fetch(server.url("/redirect-to-raw-utf8/"))
    assert image is not None
    assert image.final_url == server.url("/image/100?%C3%A9t%C3%A9")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("ftp://example.com/a.jpg", "ftp"),
        ("file:///etc/passwd", "file"),
        ("http://user:secret@example.com/", "user name"),
        ("http://127.0.0.1:99999/", "cannot be used"),
        ("http://[1/", "cannot be used"),
    ],
)
def test_a_redirect_to_an_unusable_url_is_refused(
    server: MisbehavingServer, fetcher: Fetcher, location: str, reason: str
) -> None:
    error = failure(fetcher, server.url(f"/redirect-to/302?location={quote(location)}"))
    assert error.kind is ErrorCode.BAD_REDIRECT
    assert reason in error.message


def test_a_redirect_without_a_target_is_refused(server: MisbehavingServer, fetcher: Fetcher) -> None:
    assert failure(fetcher, server.url("/status/302")).kind is ErrorCode.BAD_REDIRECT


def test_the_endless_body_of_a_redirect_is_not_read(server: MisbehavingServer, fetcher: Fetcher) -> None:
    image = fetcher.fetch(server.url("/redirect-with-endless-body/"))
    assert image is not None
    assert image.data == body_of(100)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://user:secret@127.0.0.1/", "http://", "http://a..b/", "image.jpg"]
)
def test_an_unusable_url_is_refused(fetcher: Fetcher, url: str) -> None:
    assert failure(fetcher, url).kind is ErrorCode.INVALID_URL


# Sizes


def test_a_body_of_just_the_limit_is_accepted(server: MisbehavingServer, fetcher: Fetcher) -> None:
    image = fetcher.fetch(server.url(f"/image/{MAX_BYTES}"))
    assert image is not None
    assert len(image.data) == MAX_BYTES


@pytest.mark.parametrize("path", ["chunked", "until-close", "gzip", "image"])
def test_one_byte_above_the_limit_is_too_large(
    server: MisbehavingServer, fetcher: Fetcher, path: str
) -> None:
    error = failure(fetcher, server.url(f"/{path}/{MAX_BYTES + 1}"))
    assert error.kind is ErrorCode.TOO_LARGE
    assert f"{MAX_BYTES:,}" in error.message
    assert f"{MAX_BYTES + 1:,}" in error.message


def test_a_declared_length_above_the_limit_is_refused_before_memory_is_claimed(
    server: MisbehavingServer, fetcher: Fetcher
) -> None:
    claims: list[int] = []
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(server.url("/declared/30000000000"), claim_bytes=claims.append)
    assert caught.value.kind is ErrorCode.TOO_LARGE
    assert "30,000,000,000" in caught.value.message
    assert claims == []


def test_an_endless_body_is_given_up(server: MisbehavingServer, fetcher: Fetcher) -> None:
    assert failure(fetcher, server.url("/endless/")).kind is ErrorCode.TOO_LARGE


def test_a_gzip_bomb_is_not_inflated(server: MisbehavingServer, fetcher: Fetcher) -> None:
    inflated = 50_000_000
    tracemalloc.start()
    try:
        error = failure(fetcher, server.url(f"/gzip-bomb/{inflated}"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.kind is ErrorCode.TOO_LARGE
    assert peak < inflated / 10


@pytest.mark.parametrize("path", ["image/0", "chunked/0", "until-close/0"])
def test_an_empty_file_is_a_transient_failure(server: MisbehavingServer, fetcher: Fetcher, path: str) -> None:
    error = failure(fetcher, server.url(f"/{path}"))
    assert error.kind is ErrorCode.EMPTY_BODY
    assert error.transient


@pytest.mark.parametrize(
    ("path", "claimed"),
    [("image/1234", 1234), ("chunked/1234", MAX_BYTES), ("gzip/1234", MAX_BYTES)],
)
def test_memory_is_claimed_once_for_the_most_that_can_come(
    server: MisbehavingServer, fetcher: Fetcher, path: str, claimed: int
) -> None:
    claims: list[int] = []
    fetcher.fetch(server.url(f"/{path}"), claim_bytes=claims.append)
    assert claims == [claimed]


# Waiting


@pytest.mark.parametrize("path", ["silent", "stalls-in-body"])
def test_a_silent_host_is_a_timeout(server: MisbehavingServer, path: str) -> None:
    with Fetcher(limits(read_timeout=0.2)) as fetcher:
        error = failure(fetcher, server.url(f"/{path}/"))
    assert error.kind is ErrorCode.TIMEOUT
    assert "sent nothing for too long" in error.message


def test_an_error_in_claiming_memory_reaches_the_caller(server: MisbehavingServer, fetcher: Fetcher) -> None:
    class BudgetClosed(Exception):  # noqa: N818
        pass

    def refuse(_: int) -> None:
        raise BudgetClosed

    with pytest.raises(BudgetClosed):
        fetcher.fetch(server.url("/image/100"), claim_bytes=refuse)
    assert fetcher.fetch(server.url("/image/100"))


# Connections that break


@pytest.mark.parametrize(
    "path",
    ["no-answer", "garbage", "truncated", "truncated-chunk", "reset", "not-really-gzip"],
)
def test_a_broken_answer_is_a_transient_connection_error(
    server: MisbehavingServer, fetcher: Fetcher, path: str
) -> None:
    error = failure(fetcher, server.url(f"/{path}/100"))
    assert error.kind is ErrorCode.CONNECTION_ERROR
    assert error.transient
    assert "127.0.0.1" in error.message


def test_an_idle_connection_that_was_closed_is_replaced_silently(server: MisbehavingServer) -> None:
    path = "/hangs-up-on-reuse/100"
    with Fetcher(limits()) as fetcher:
        fetcher.fetch(server.url(path))
        image = fetcher.fetch(server.url(path))
    assert image is not None
    assert image.data == body_of(100)
    assert len(requests_of(server, path)) == 3


def test_a_new_connection_that_is_closed_is_not_tried_again(server: MisbehavingServer) -> None:
    with Fetcher(limits()) as fetcher:
        error = failure(fetcher, server.url("/no-answer/at-first"))
    assert error.kind is ErrorCode.CONNECTION_ERROR
    assert len(requests_of(server, "/no-answer/at-first")) == 1


def test_an_idle_connection_is_replaced_only_once(server: MisbehavingServer) -> None:
    with Fetcher(limits()) as fetcher:
        fetcher.fetch(server.url("/image/100"))
        error = failure(fetcher, server.url("/no-answer/after-reuse"))
    assert error.kind is ErrorCode.CONNECTION_ERROR
    assert len(requests_of(server, "/no-answer/after-reuse")) == 2


def test_a_refused_connection_says_so(fetcher: Fetcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    error = failure(fetcher, f"http://127.0.0.1:{port}/")
    assert error.kind is ErrorCode.CONNECTION_REFUSED


def test_a_name_without_an_address_is_a_dns_failure(fetcher: Fetcher) -> None:
    error = failure(fetcher, "http://no-such-host.invalid/")
    assert error.kind is ErrorCode.DNS_FAILURE
    assert "no-such-host.invalid" in error.message


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is not installed")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, "req", *kind, *subject, *files], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def tls_server(certificate: tuple[Path, Path]) -> Iterator[MisbehavingServer]:
    with MisbehavingServer(*certificate) as server:
        yield server


@pytest.fixture
def _trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """This system trusts the certificate of `tls_server`."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


def test_a_self_signed_certificate_is_a_permanent_tls_error(
    tls_server: MisbehavingServer, fetcher: Fetcher
) -> None:
    error = failure(fetcher, tls_server.url("/image/100", host="localhost"))
    assert error.kind is ErrorCode.TLS_ERROR
    assert not error.transient
    assert "self-signed" in error.message


@pytest.mark.usefixtures("_trusted")
def test_a_certificate_of_another_host_is_a_tls_error(tls_server: MisbehavingServer) -> None:
    with Fetcher(limits()) as fetcher:
        error = failure(fetcher, tls_server.url("/image/100", host="127.0.0.1"))
    assert error.kind is ErrorCode.TLS_ERROR


def test_a_host_that_speaks_no_tls_is_a_tls_error(server: MisbehavingServer, fetcher: Fetcher) -> None:
    error = failure(fetcher, f"https://127.0.0.1:{server.port}/image/100")
    assert error.kind is ErrorCode.TLS_ERROR


def test_a_handshake_without_an_answer_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, Fetcher(limits(connect_timeout=0.2)) as fetcher:
        error = failure(fetcher, f"https://127.0.0.1:{silent.getsockname()[1]}/")
    assert error.kind is ErrorCode.TIMEOUT


@pytest.mark.usefixtures("_trusted")
def test_images_come_over_tls_on_one_connection(tls_server: MisbehavingServer) -> None:
    tls_server.connections.clear()
    with Fetcher(limits()) as fetcher:
        for size in (100, 70_000):
            image = fetcher.fetch(tls_server.url(f"/image/{size}", host="localhost"))
            assert image is not None
            assert image.data == body_of(size)
    assert len(tls_server.connections) == 1


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize("path", ["drips-header", "drips-body-without-length"])
def test_the_deadline_holds_over_tls(tls_server: MisbehavingServer, path: str) -> None:
    with Fetcher(limits(deadline=0.5, max_bytes=10**7)) as fetcher:
        start = time.monotonic()
        error = failure(fetcher, tls_server.url(f"/{path}/", host="localhost"))
        elapsed = time.monotonic() - start
    assert error.kind is ErrorCode.TIMEOUT
    assert 0.5 <= elapsed < 3


@pytest.mark.usefixtures("_trusted")
def test_a_truncated_body_over_tls_is_a_connection_error(tls_server: MisbehavingServer) -> None:
    with Fetcher(limits()) as fetcher:
        error = failure(fetcher, tls_server.url("/truncated/", host="localhost"))
    assert error.kind is ErrorCode.CONNECTION_ERROR


# The address guard


@pytest.mark.parametrize("host", ["169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::10.0.0.1]"])
def test_an_address_that_is_not_public_is_not_dialled(fetcher_without_exceptions: Fetcher, host: str) -> None:
    error = failure(fetcher_without_exceptions, f"http://{host}/image.jpg")
    assert error.kind is ErrorCode.BLOCKED_ADDRESS
    assert not error.transient
    assert "IMAGI_ALLOWED_NETWORKS" in error.message


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f.1",
        "127.1",
        "017700000001",
        "0x7f000001",
        "0",
        "localhost",
        "LOCALHOST",
    ],
)
def test_no_spelling_of_loopback_passes(
    server: MisbehavingServer, fetcher_without_exceptions: Fetcher, host: str
) -> None:
    path = f"/image/1?spelling={host}"
    error = failure(fetcher_without_exceptions, server.url(path, host=host))
    assert error.kind is ErrorCode.BLOCKED_ADDRESS
    assert host.lower() in error.message
    assert requests_of(server, path) == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_redirect_to_a_blocked_address_is_not_followed(server: MisbehavingServer, scheme: str) -> None:
    target = quote(f"{scheme}://169.254.169.254/latest/meta-data/")
    with Fetcher(limits(allowed_networks=(ip_network("127.0.0.1/32"),))) as fetcher:
        error = failure(fetcher, server.url(f"/redirect-to/302?location={target}"))
    assert error.kind is ErrorCode.BLOCKED_ADDRESS
    assert "169.254.169.254" in error.message


def resolve(curl: pycurl.Curl, server: MisbehavingServer, host: str, *addresses: str) -> None:
    """Make libcurl find these addresses for a name, as if its resolver had given them."""
    entry = f"{host}:{server.port}"
    curl.setopt(pycurl.RESOLVE, [f"-{entry}", f"{entry}:{','.join(addresses)}"])


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> list[pycurl.Curl]:
    """The handles of libcurl that are made from now on."""
    made: list[pycurl.Curl] = []
    make = pycurl.Curl

    def remembered() -> pycurl.Curl:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(pycurl, "Curl", remembered)
    return made


def test_a_name_that_changes_to_a_private_address_is_refused_at_the_next_connection(
    server: MisbehavingServer, handles: list[pycurl.Curl]
) -> None:
    """DNS rebinding, with 127.0.0.1 in the role of the public address."""
    url = server.url("/until-close/100", host="rebinding.example")
    with Fetcher(limits(allowed_networks=(ip_network("127.0.0.1/32"),))) as fetcher:
        fetcher.fetch(server.url("/until-close/100"))
        resolve(handles[0], server, "rebinding.example", "127.0.0.1")
        assert fetcher.fetch(url)
        resolve(handles[0], server, "rebinding.example", "127.0.0.2")
        error = failure(fetcher, url)
    assert error.kind is ErrorCode.BLOCKED_ADDRESS
    assert "rebinding.example is at 127.0.0.2" in error.message


def test_only_the_allowed_addresses_of_a_name_are_dialled(
    server: MisbehavingServer, handles: list[pycurl.Curl]
) -> None:
    with socket.create_server(("127.0.0.2", server.port)) as private:
        private.setblocking(False)
        with Fetcher(limits(allowed_networks=(ip_network("127.0.0.1/32"),))) as fetcher:
            fetcher.fetch(server.url("/until-close/1"))
            resolve(handles[0], server, "mixed.example", "127.0.0.2", "127.0.0.1")
            assert fetcher.fetch(server.url("/image/100", host="mixed.example"))
        with pytest.raises(BlockingIOError):
            private.accept()


def test_a_refused_address_gets_no_packet(server: MisbehavingServer) -> None:
    with socket.create_server(("127.0.0.2", 0)) as private:
        private.setblocking(False)
        with Fetcher(limits(allowed_networks=(ip_network("127.0.0.1/32"),))) as fetcher:
            error = failure(fetcher, f"http://127.0.0.2:{private.getsockname()[1]}/secret")
        assert error.kind is ErrorCode.BLOCKED_ADDRESS
        with pytest.raises(BlockingIOError):
            private.accept()


def test_the_next_address_is_tried_when_one_refuses(
    server: MisbehavingServer, handles: list[pycurl.Curl]
) -> None:
    with Fetcher(limits()) as fetcher:
        fetcher.fetch(server.url("/until-close/1"))
        resolve(handles[0], server, "two.example", "127.0.0.9", "127.0.0.1")
        assert fetcher.fetch(server.url("/image/100", host="two.example"))
