"""Fetch and compress many images side by side, in bounded memory; results come as they finish.

A thread takes an image through all its steps: look at its record, download, hand the bytes to a codec
process, store. Threads wait for the network while processes use the cores; what is in memory at the same
time is bounded by the two budgets, not by the number of images.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import xxhash

from imagi_pipeline.core.errors import (
    CodecError,
    ErrorCode,
    FetchError,
    ImageError,
    InternalError,
    StorageError,
)
from imagi_pipeline.core.http.fetching import FetchedImage, Fetcher
from imagi_pipeline.core.http.host_schedule import Download, HostSchedule
from imagi_pipeline.core.http.retry_after import retry_delay
from imagi_pipeline.core.images.codec_pool import CodecPool, Thumbnails
from imagi_pipeline.core.images.compressed_image import CompressedImage
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.limits import EngineLimits
from imagi_pipeline.core.storage.records import ImageRecord
from imagi_pipeline.core.storage.store import Store

_log = logging.getLogger(__name__)

THUMBNAIL_SIDE = 160
"""Pixels of the longer side of a thumbnail."""

NO_ANSWER = frozenset(
    {
        ErrorCode.DNS_FAILURE,
        ErrorCode.CONNECTION_REFUSED,
        ErrorCode.CONNECTION_ERROR,
        ErrorCode.TIMEOUT,
    }
)

SECONDS_TO_STOP = 5.0


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of one image: compressed now, reused as it was, or failed.

    A failed one has the record of its last good copy, if there is one: that copy stays.
    """

    url: str
    key: str
    status: Literal["ok", "reused", "failed"]
    record: ImageRecord | None = None
    error: ImageError | None = None
    attempts: int = 0
    """How often a failed one was asked for; 0 if it was not tried, because its host was down."""
    thumbnails: Thumbnails | None = None


class Budget:
    """An amount that threads share. A claim waits until enough is left, or until it is alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def lease(self) -> Iterator[Lease]:
        """Take a share of the budget, and give it back at the end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            lease.shrink(0)

    def claim(self, amount: int) -> None:
        """Take `amount`, waiting until it is there."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + amount <= self._total)
            self._used += amount

    def release(self, amount: int) -> None:
        """Give `amount` back."""
        with self._changed:
            self._used -= amount
            self._changed.notify_all()


class Lease:
    """What one user holds of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    def claim(self, amount: int) -> None:
        """Hold `amount` more, waiting until it is there."""
        self._budget.claim(amount)
        self._held += amount

    def shrink(self, amount: int) -> None:
        """Hold no more than `amount`."""
        if self._held > amount:
            self._budget.release(self._held - amount)
            self._held = amount


def compress_images(
    keys: Mapping[str, str],
    store: Store,
    compression: CompressionSettings,
    limits: EngineLimits,
    *,
    thumbnails: int = 0,
    settled: Collection[str] = frozenset(),
) -> Iterator[ImageResult]:
    """Fetch, compress and store images; yield a result for each, in any order. `keys` has their keys by URL.

    An image whose record is fresh (`limits.reuse_for`) is reused, an older one is asked for by conditional
    GET; one of `settled` is reused however old it is. The first `thumbnails` URLs get thumbnails, if they
    are compressed now. Raises StorageError, which
    ends the work, when the storage fails; a failure of an image is a result. Closing the iterator stops the
    work.
    """
    if not keys:
        return
    work = _Work(keys, store, compression, limits, thumbnails, settled)
    try:
        work.start()
        for _ in keys:
            outcome = work.results.get()
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
    finally:
        work.stop()


class _Work:
    def __init__(
        self,
        keys: Mapping[str, str],
        store: Store,
        compression: CompressionSettings,
        limits: EngineLimits,
        thumbnails: int,
        settled: Collection[str],
    ) -> None:
        self.results: queue.SimpleQueue[ImageResult | BaseException] = queue.SimpleQueue()
        self._keys = keys
        self._store = store
        self._limits = limits
        self._settled = settled
        self._fingerprint = compression.fingerprint
        self._bytes = Budget(limits.bytes_in_flight)
        pixels = Budget(limits.pixels_in_flight)
        self._codec = CodecPool(
            compression,
            min(limits.codec_processes, len(keys)),
            limits.codec_timeout,
            pixels.claim,
            pixels.release,
        )
        self._fetcher = Fetcher(limits.fetching)
        self._schedule = HostSchedule(keys, limits.connections_per_host, limits.host_down_after)
        self._with_thumbnails = {url for url, _ in zip(keys, range(thumbnails), strict=False)}
        self._threads = [
            threading.Thread(target=self._run, name=f"image-{number}", daemon=True)
            for number in range(min(limits.download_threads, len(keys)))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._schedule.cancel()
        self._codec.close()
        self._fetcher.close()
        end = time.monotonic() + SECONDS_TO_STOP
        for thread in self._threads:
            if not thread.ident:  # an interrupt came before all were started
                continue
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while download := self._schedule.take():
            try:
                result = self._process(download)
            except BaseException as error:  # noqa: BLE001 - it goes on in the thread of the caller
                self.results.put(error)
                return
            if result:
                self.results.put(result)
                self._schedule.finished()

    def _process(self, download: Download) -> ImageResult | None:
        """Return the result of one image; None when it is to be tried again."""
        with self._schedule.place_of(download), self._bytes.lease() as memory:
            try:
                return self._attempt(download, memory)
            except FetchError as error:
                return self._after_failed_download(download, error)
            except ImageError as error:
                return self._failed(download, error)
            except StorageError:
                raise
            except Exception as error:  # noqa: BLE001 - what nobody foresaw costs one image
                _log.exception("Unforeseen failure of %s", download.url)
                detail = f"{type(error).__name__}: {error}."
                return self._failed(download, InternalError(ErrorCode.INTERNAL_ERROR, detail))

    def _attempt(self, download: Download, memory: Lease) -> ImageResult:
        url, key = download.url, self._keys[download.url]
        record = self._store.read_record(key)
        if record and url in self._settled:
            return ImageResult(url, key, "reused", record)
        current = record if record and record.settings == self._fingerprint else None
        if current and self._is_fresh(current):
            return ImageResult(url, key, "reused", current)
        source = self._fetch(download, current, memory)
        if source is None or (current and _digest(source.data) == current.source_digest):
            assert current is not None  # only a conditional request is answered with None
            return self._confirm(url, key, current, source)
        memory.shrink(len(source.data))
        return self._compress(url, key, source)

    def _is_fresh(self, record: ImageRecord) -> bool:
        return time.time() - record.checked_at < self._limits.reuse_for

    def _fetch(self, download: Download, record: ImageRecord | None, memory: Lease) -> FetchedImage | None:
        if self._schedule.is_down(download.host):
            raise FetchError(
                ErrorCode.HOST_DOWN,
                f"Not tried: {download.host} has given no answer for "
                f"{self._limits.host_down_after:g} seconds.",
            )

        def claim(amount: int) -> None:
            self._schedule.host_answered(download.host)  # its header has come, and the body may take long
            memory.claim(amount)

        if download.attempt == 1:
            self._codec.expect_image()
        source = self._fetcher.fetch(
            download.url,
            etag=record.etag if record else None,
            last_modified=record.last_modified if record else None,
            claim_bytes=claim,
        )
        self._schedule.host_served(download.host, is_too_slow=self._codec.is_waiting)
        return source

    def _confirm(self, url: str, key: str, record: ImageRecord, source: FetchedImage | None) -> ImageResult:
        """Return the result of an image that has not changed at its host: the time of the check is new."""
        record = replace(record, checked_at=time.time())
        if source:
            record = replace(record, etag=source.etag, last_modified=source.last_modified)
        self._store.write_record(key, record)
        return ImageResult(url, key, "reused", record)

    def _compress(self, url: str, key: str, source: FetchedImage) -> ImageResult:
        side = THUMBNAIL_SIDE if url in self._with_thumbnails else None
        try:
            image, thumbnails = self._codec.compress(source.data, side)
        except CodecError as error:
            if error.kind is not ErrorCode.CORRUPT_IMAGE or source.is_whole:
                raise
            # Nothing but the image itself tells that the connection broke.
            detail = f"The download ended too early, or the image is damaged: {error.detail}"
            raise FetchError(ErrorCode.CONNECTION_ERROR, detail) from error
        record = _record(url, key, source, image, self._fingerprint)
        self._store.write_image(key, record, image.data)
        return ImageResult(url, key, "ok", record, thumbnails=thumbnails)

    def _after_failed_download(self, download: Download, error: FetchError) -> ImageResult | None:
        if error.kind in NO_ANSWER:
            self._schedule.host_failed(download.host)
        elif error.kind is not ErrorCode.HOST_DOWN:
            self._schedule.host_answered(download.host)
        if error.transient and error.kind is not ErrorCode.HOST_DOWN:
            self._schedule.host_overloaded(download)
        delay = retry_delay(error, download.attempt, self._limits.fetching)
        if delay is None or self._schedule.is_down(download.host):
            return self._failed(download, error)
        self._schedule.try_again(download, delay)
        return None

    def _failed(self, download: Download, error: ImageError) -> ImageResult:
        key = self._keys[download.url]
        attempts = download.attempt - (error.kind is ErrorCode.HOST_DOWN)
        return ImageResult(download.url, key, "failed", self._store.read_record(key), error, attempts)


def _digest(data: bytes) -> str:
    """Return what tells whether an image has changed behind its URL; SHA-256 takes twenty times as long.

    It need not resist an attack: who controls the sources of one URL could only make that URL look unchanged.
    """
    return xxhash.xxh3_128_hexdigest(data)


def _record(
    url: str, key: str, source: FetchedImage, image: CompressedImage, fingerprint: str
) -> ImageRecord:
    return ImageRecord(
        url=url,
        file=key + image.suffix,
        source_format=image.source_format,
        source_bytes=len(source.data),
        source_width=image.source_width,
        source_height=image.source_height,
        source_digest=_digest(source.data),
        format=image.format,
        bytes=len(image.data),
        width=image.width,
        height=image.height,
        kept_source=image.kept_source,
        settings=fingerprint,
        etag=source.etag,
        last_modified=source.last_modified,
        checked_at=time.time(),
        encoder=image.encoder,
        note=image.note,
    )
