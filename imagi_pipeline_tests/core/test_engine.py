from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagi_pipeline.core.engine import Budget, ImageResult, compress_images
from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.limits import EngineLimits
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline_tests.image_host import ImageHost, jpeg
from imagi_pipeline_tests.limits import engine_limits, fetch_limits
from imagi_pipeline_tests.processes import codec_processes
from imagi_pipeline_tests.raw_server import RawServer, answer
from imagi_pipeline_tests.records import image_keys


def run(
    urls: Sequence[str],
    store: Store,
    compression: CompressionSettings | None = None,
    limits: EngineLimits | None = None,
) -> dict[str, ImageResult]:
    results = list(
        compress_images(
            image_keys(urls), store, compression or CompressionSettings(), limits or engine_limits()
        )
    )
    assert sorted(result.url for result in results) == sorted(urls)
    return {result.url: result for result in results}


def test_every_image_is_stored_smaller_with_a_true_record(image_host: ImageHost, store: Store) -> None:
    urls = image_host.add(*(f"{number}.jpg" for number in range(12)))
    for url, result in run(urls, store).items():
        assert result.status == "ok"
        assert result.record is not None
        stored = store.image(result.key, result.record).read_bytes()
        source = image_host.files[url.removeprefix(image_host.base)]
        assert (result.record.bytes, result.record.source_bytes) == (len(stored), len(source))
        assert len(stored) < len(source)
        assert Image.open(io.BytesIO(stored)).size == (result.record.width, result.record.height)
        assert store.read_record(result.key) == result.record


def test_a_bad_image_is_a_result_and_holds_up_nothing(image_host: ImageHost, store: Store) -> None:
    good, page, empty = image_host.add("good.jpg", "page.jpg", "empty.jpg")
    image_host.files["/page.jpg"] = b"<html>sold out</html>"
    image_host.files["/empty.jpg"] = b""
    gone = f"{image_host.base}/gone.jpg"
    results = run([good, page, empty, gone], store, limits=engine_limits(fetch_limits(attempts=1)))
    codes = {url: result.error and result.error.code for url, result in results.items()}
    assert codes == {good: None, page: "not_an_image", empty: "empty_body", gone: "http_404"}


def test_a_fresh_image_is_reused_without_a_request(image_host: ImageHost, store: Store) -> None:
    urls = image_host.add("a.jpg")
    run(urls, store)
    assert run(urls, store)[urls[0]].status == "reused"
    assert image_host.asked["/a.jpg"] == 1


def test_an_older_image_is_asked_for_conditionally(image_host: ImageHost, store: Store) -> None:
    urls = image_host.add("a.jpg")
    first = run(urls, store)[urls[0]].record
    again = run(urls, store, limits=engine_limits(reuse_for=0))[urls[0]]
    assert again.status == "reused"
    assert (image_host.asked["/a.jpg"], image_host.sent["/a.jpg"]) == (2, 1)
    assert again.record
    assert first
    assert again.record.checked_at > first.checked_at


def test_a_settled_image_is_reused_however_old(image_host: ImageHost, store: Store) -> None:
    urls = image_host.add("a.jpg", "b.jpg")
    run(urls, store)
    results = compress_images(
        image_keys(urls), store, CompressionSettings(), engine_limits(reuse_for=0), settled=urls[:1]
    )
    assert {result.status for result in results} == {"reused"}
    assert (image_host.asked["/a.jpg"], image_host.asked["/b.jpg"]) == (1, 2)


def test_an_image_that_changed_behind_its_url_is_compressed_anew(image_host: ImageHost, store: Store) -> None:
    urls = image_host.add("a.jpg")
    first = run(urls, store)[urls[0]].record
    image_host.files["/a.jpg"] = jpeg(99)
    again = run(urls, store, limits=engine_limits(reuse_for=0))[urls[0]]
    assert again.status == "ok"
    assert again.record
    assert first
    assert again.record.data_version != first.data_version


def test_the_last_good_copy_of_an_image_that_is_gone_is_kept(image_host: ImageHost, store: Store) -> None:
    (url,) = image_host.add("a.jpg")
    first = run([url], store)[url]
    del image_host.files["/a.jpg"]
    for again in (
        run([url], store, limits=engine_limits(reuse_for=0))[url],
        run([url], store, CompressionSettings(quality=50))[url],
    ):
        assert (again.status, again.record) == ("failed", first.record)
        assert again.error
        assert again.error.code == "http_404"
    assert first.record
    assert store.image(first.key, first.record).exists()


def test_other_settings_make_the_image_anew(image_host: ImageHost, store: Store) -> None:
    urls = image_host.add("a.jpg")
    run(urls, store)
    result = run(urls, store, CompressionSettings(output_format="webp"))[urls[0]]
    assert result.status == "ok"
    assert result.record
    assert result.record.file.endswith(".webp")


def test_a_passing_failure_is_tried_again(image_host: ImageHost, store: Store) -> None:
    urls = image_host.add("a.jpg")
    image_host.failures["/a.jpg"] = [503, 429]
    assert run(urls, store)[urls[0]].status == "ok"
    assert image_host.asked["/a.jpg"] == 3


def test_a_permanent_failure_is_not_tried_again(image_host: ImageHost, store: Store) -> None:
    run([f"{image_host.base}/gone.jpg"], store)
    assert image_host.asked["/gone.jpg"] == 1


def test_a_host_that_is_down_is_given_up_after_a_while(image_host: ImageHost, store: Store) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
        urls = [f"{dead}/{number}.jpg" for number in range(400)]
        alive = image_host.add("alive.jpg")
        results = run(
            urls + alive,
            store,
            limits=engine_limits(fetch_limits(attempts=9), host_down_after=0.5, download_threads=8),
        )
    codes = [result.error.code for result in results.values() if result.error]
    assert set(codes) == {"connection_refused", "host_down"}
    assert codes.count("host_down") > 100
    assert results[alive[0]].status == "ok"


def test_a_host_gets_no_more_requests_at_once_than_allowed(image_host: ImageHost, store: Store) -> None:
    image_host.delay = 0.03
    run(
        image_host.add(*(f"{number}.jpg" for number in range(20))),
        store,
        limits=engine_limits(connections_per_host=3),
    )
    assert image_host.most_at_once == 3


def test_bytes_in_flight_are_bounded_and_every_image_still_comes_through(
    image_host: ImageHost, store: Store
) -> None:
    urls = image_host.add(*(f"{number}.jpg" for number in range(8)))
    results = run(urls, store, limits=engine_limits(bytes_in_flight=1))
    assert all(result.status == "ok" for result in results.values())


def test_thumbnails_are_made_of_the_first_images_only(image_host: ImageHost, store: Store) -> None:
    urls = image_host.add("a.jpg", "b.jpg", "c.jpg")
    results = list(
        compress_images(image_keys(urls), store, CompressionSettings(), engine_limits(), thumbnails=2)
    )
    assert {result.url for result in results if result.thumbnails} == set(urls[:2])


def test_what_nobody_foresaw_costs_one_image(
    image_host: ImageHost, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, odd = image_host.add("good.jpg", "odd.jpg")
    write_image = Store.write_image

    def write(self: Store, key: str, *arguments: Any) -> None:
        if key.startswith("odd"):
            raise RuntimeError("nobody thought of this")
        write_image(self, key, *arguments)

    monkeypatch.setattr(Store, "write_image", write)
    results = run([good, odd], store)
    assert results[good].status == "ok"
    error = results[odd].error
    assert error
    assert error.code == "internal_error"
    assert "nobody thought of this" in error.message


def test_a_storage_that_fails_ends_the_work(image_host: ImageHost, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory"):
        run(image_host.add("a.jpg", "b.jpg"), Store(tmp_path / "file"))
    assert not codec_processes()


def test_closing_the_iterator_stops_the_work(image_host: ImageHost, store: Store) -> None:
    image_host.delay = 0.02
    urls = image_host.add(*(f"{number}.jpg" for number in range(200)))
    results = compress_images(
        image_keys(urls), store, CompressionSettings(), engine_limits(connections_per_host=2)
    )
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert sum(image_host.asked.values()) < 100
    assert not codec_processes()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("image-")]


def test_no_images_are_no_work(store: Store) -> None:
    assert list(compress_images(image_keys([]), store, CompressionSettings(), engine_limits())) == []


def test_a_claim_larger_than_the_budget_waits_until_it_is_alone() -> None:
    budget = Budget(10)
    budget.claim(6)
    claimed = threading.Event()

    def claim() -> None:
        budget.claim(20)
        claimed.set()

    thread = threading.Thread(target=claim, daemon=True)
    thread.start()
    time.sleep(0.05)
    assert not claimed.is_set()
    budget.release(6)
    thread.join(5)
    assert claimed.is_set()


def test_a_lease_gives_back_what_it_held() -> None:
    budget = Budget(10)
    with budget.lease() as lease:
        lease.claim(10)
        lease.shrink(4)
        budget.claim(6)
        budget.release(6)
    budget.claim(10)


def test_an_image_that_was_cut_without_a_word_is_downloaded_again(store: Store) -> None:
    whole = jpeg(1)
    pieces = iter([whole[: len(whole) // 2], whole])
    with RawServer({b"/a.jpg": lambda _: answer(next(pieces), length=False)}) as host:
        url = host.url("/a.jpg")
        assert run([url], store)[url].status == "ok"
        assert len(host.asked) == 2


def test_an_image_that_is_damaged_at_a_host_that_names_no_length_fails_for_a_passing_reason(
    store: Store,
) -> None:
    whole = jpeg(1)
    with RawServer({b"/a.jpg": answer(whole[: len(whole) // 2], length=False)}) as host:
        url = host.url("/a.jpg")
        error = run([url], store, limits=engine_limits(fetch_limits(attempts=1)))[url].error
    assert error is not None
    assert error.code == "connection_error"
    assert error.transient
    assert "damaged" in error.message
