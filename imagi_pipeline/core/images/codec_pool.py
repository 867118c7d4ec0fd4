"""A pool of codec processes that survives the images it is given."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.compressed_image import CompressedImage
from imagi_pipeline.core.images.compression_settings import CompressionSettings

KEEP_FREED_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
}
"""glibc gives each freed image buffer back to the kernel otherwise: 16-27% of the time (design.md)."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Small JPEGs of an image before and after compression."""

    before: bytes
    after: bytes


class CodecPool:
    """Compresses images in processes of its own; as many calls run at the same time as there are processes.

    `claim_pixels` is called before a large image is decoded and returns when its memory is free;
    `release_pixels` is called once that memory is free again.
    """

    def __init__(
        self,
        settings: CompressionSettings,
        processes: int,
        timeout: float,
        claim_pixels: Callable[[int], None] = lambda _: None,
        release_pixels: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._timeout = timeout
        self._claim_pixels = claim_pixels
        self._release_pixels = release_pixels
        self._workers = [_Worker(settings) for _ in range(processes)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, also those that are at work; a call in progress raises CodecError."""
        for worker in self._workers:
            worker.close()

    def compress(
        self, source: bytes, thumbnail_side: int | None = None
    ) -> tuple[CompressedImage, Thumbnails | None]:
        """Compress one image, with thumbnails of `thumbnail_side` pixels if given.

        Raises CodecError, with the codes decoder_crashed and decoder_timeout if the process was lost.
        """
        worker = self._idle.get()
        claimed = 0
        try:
            worker.send(source, thumbnail_side)
            answer = worker.receive(self._timeout)
            if "pixels" in answer:
                self._claim_pixels(answer["pixels"])
                claimed = answer["pixels"]
                worker.go_on()
                answer = worker.receive(self._timeout)
            if "code" in answer:
                raise CodecError(ErrorCode.of(answer["code"]), answer["detail"])
            image = CompressedImage(data=worker.receive_bytes(), **answer["image"])
            if not answer["thumbnails"]:
                return image, None
            return image, Thumbnails(worker.receive_bytes(), worker.receive_bytes())
        finally:
            if claimed:
                self._release_pixels(claimed)
            self._idle.put(worker)


class _Worker:
    """One codec process: started when first needed, and again after it was lost."""

    def __init__(self, settings: CompressionSettings) -> None:
        self._argument = json.dumps(asdict(settings))
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._lock = threading.Lock()  # of starting against closing

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                raise CodecError(ErrorCode.DECODER_CRASHED, "The work was stopped.")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "imagi_pipeline.core.images.codec_process", self._argument],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, **KEEP_FREED_MEMORY},
                start_new_session=True,  # Ctrl-C is for the parent; the end of its input ends this one
            )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._outbox = Connection(os.dup(self._process.stdin.fileno()), readable=False)
            self._inbox = Connection(os.dup(self._process.stdout.fileno()), writable=False)
            self._process.stdin.close()
            self._process.stdout.close()

    def send(self, source: bytes, thumbnail_side: int | None) -> None:
        order = json.dumps({"thumbnail_side": thumbnail_side}).encode()
        if self._process is None:
            self._start()
        try:
            self._outbox.send_bytes(order)
        except OSError:  # it died while idle: no image's fault
            self._end()
            self._start()
            self._outbox.send_bytes(order)
        try:
            self._outbox.send_bytes(source)
        except OSError:
            raise self._crashed() from None

    def go_on(self) -> None:
        try:
            self._outbox.send_bytes(b"go")
        except OSError:
            raise self._crashed() from None

    def receive(self, timeout: float) -> dict[str, Any]:
        try:
            answered = self._inbox.poll(timeout)
        except OSError:
            raise self._crashed() from None
        if not answered:
            self._end()
            raise CodecError(
                ErrorCode.DECODER_TIMEOUT, f"Decoding and encoding took more than {timeout:g} s."
            )
        answer: dict[str, Any] = json.loads(self.receive_bytes())
        return answer

    def receive_bytes(self) -> bytes:
        try:
            return self._inbox.recv_bytes()
        except (EOFError, OSError):
            raise self._crashed() from None

    def _crashed(self) -> CodecError:
        status = self._end()
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return CodecError(ErrorCode.DECODER_CRASHED, f"The process that decoded the image was ended {how}.")

    def _end(self) -> int:
        """End the process; its exit status, or minus the signal that it had already died of."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return 0
        self._outbox.close()
        self._inbox.close()
        try:  # a process that crashed is about to be gone, and its status says why
            return process.wait(0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            process.kill()
            process.wait()
