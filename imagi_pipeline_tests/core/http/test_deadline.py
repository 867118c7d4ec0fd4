"""The deadline as a Fetcher keeps it, against hosts that send a byte now and then."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from urllib.parse import quote

import pytest

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.fetching import Fetcher
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline_tests.servers import MisbehavingServer


def fetcher_with_deadline(seconds: float) -> Fetcher:
    return Fetcher(
        FetchLimits(
            allowed_networks=(ip_network("127.0.0.0/8"),),
            connect_timeout=5,
            read_timeout=5,
            deadline=seconds,
            max_bytes=10**7,
        )
    )


@pytest.fixture(scope="module")
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as server:
        yield server


def failure(fetcher: Fetcher, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(url)
    return caught.value


@pytest.mark.parametrize("path", ["drips-header", "drips-body", "drips-body-without-length"])
def test_a_dripping_host_is_cut_at_the_deadline(server: MisbehavingServer, path: str) -> None:
    with fetcher_with_deadline(0.3) as fetcher:
        start = time.monotonic()
        error = failure(fetcher, server.url(f"/{path}/"))
        elapsed = time.monotonic() - start
    assert error.kind is ErrorCode.TIMEOUT
    assert "0.3 seconds" in error.message
    assert 0.3 <= elapsed < 3


def test_the_deadline_holds_on_a_reused_connection(server: MisbehavingServer) -> None:
    with fetcher_with_deadline(0.3) as fetcher:
        fetcher.fetch(server.url("/image/1"))
        error = failure(fetcher, server.url("/drips-header/again"))
    assert error.kind is ErrorCode.TIMEOUT
    assert [path for path, _ in server.requests].count("/drips-header/again") == 1


def test_the_deadline_spans_all_redirects(server: MisbehavingServer) -> None:
    slow = quote(server.url("/drips-body/"))
    with fetcher_with_deadline(0.3) as fetcher:
        error = failure(fetcher, server.url(f"/redirect-to/302?location={slow}"))
    assert error.kind is ErrorCode.TIMEOUT


def test_the_deadline_of_one_thread_leaves_the_others_alone(server: MisbehavingServer) -> None:
    paths = ["/drips-body/"] + ["/image/1000"] * 200
    with (
        fetcher_with_deadline(0.3) as fetcher,
        ThreadPoolExecutor(2) as threads,
    ):
        slow, *others = [threads.submit(fetcher.fetch, server.url(path)) for path in paths]
        assert all(other.result() for other in others)
        with pytest.raises(FetchError):
            slow.result()


def test_the_clock_stands_still_while_memory_is_claimed(server: MisbehavingServer) -> None:
    with fetcher_with_deadline(0.5) as fetcher:
        image = fetcher.fetch(server.url("/image/100"), claim_bytes=lambda _: time.sleep(0.8))
        assert image is not None


def test_the_clock_runs_on_after_memory_was_claimed(server: MisbehavingServer) -> None:
    with fetcher_with_deadline(0.3) as fetcher:
        with pytest.raises(FetchError) as caught:
            fetcher.fetch(server.url("/drips-body/"), claim_bytes=lambda _: time.sleep(0.1))
        assert caught.value.kind is ErrorCode.TIMEOUT


def test_close_ends_downloads_in_progress(server: MisbehavingServer) -> None:
    fetcher = fetcher_with_deadline(60)
    reading = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        download = threads.submit(
            fetcher.fetch, server.url("/drips-body/"), claim_bytes=lambda _: reading.set()
        )
        assert reading.wait(5)
        fetcher.close()
        with pytest.raises(FetchError):
            download.result(timeout=5)


def test_a_closed_fetcher_fetches_no_more(server: MisbehavingServer) -> None:
    fetcher = fetcher_with_deadline(10)
    fetcher.fetch(server.url("/image/1"))
    fetcher.close()
    assert failure(fetcher, server.url("/image/1")).kind is ErrorCode.TIMEOUT
