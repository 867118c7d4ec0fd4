"""Run a pool of codec processes that survives the images it is given."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.codec_channel import Channel
from imagi_pipeline.core.images.compressed_image import CompressedImage
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.shared_buffer import SharedBuffer

IMAGES_FOR_A_PROCESS = 8
"""Images that are worth the start of one more process: it takes as long as they do, about 0.25 s of CPU."""

KEEP_FREED_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
}
"""Otherwise glibc gives each freed image buffer back to the kernel, which takes 16 to 27% of the time."""

MEMORY, MEMORY_PER_PIXEL = 1 << 30, 32
"""Bytes that a codec process may take: so many, and so many more for each pixel that an image may have."""

_SECONDS_TO_START = 60.0
_PASSED_ON = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "VIRTUAL_ENV",
)
"""What a codec process sees of the environment, with Python's own: it reads hostile files, so no secrets."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Small JPEGs of an image before and after compression."""

    before: bytes
    after: bytes


class CodecPool:
    """Compresses images in processes of its own; as many calls run at the same time as there are processes.

    Processes are started as images are expected or come: one, and one more for every IMAGES_FOR_A_PROCESS.
    `claim_pixels` is called before a large image is decoded and returns when its memory is free;
    `release_pixels` is called once that memory is free again. `memory` are the bytes that a process may take;
    unset, it is what the largest image that the settings allow needs. An image that needs more fails.
    """

    def __init__(
        self,
        settings: CompressionSettings,
        processes: int,
        timeout: float,
        claim_pixels: Callable[[int], None] = lambda _: None,
        release_pixels: Callable[[int], None] = lambda _: None,
        memory: int | None = None,
    ) -> None:
        self._arguments = (
            json.dumps(asdict(settings)),
            str(memory or MEMORY + MEMORY_PER_PIXEL * settings.max_pixels),
        )
        self._most = processes
        self._timeout = timeout
        self._claim_pixels = claim_pixels
        self._release_pixels = release_pixels
        self._expected = 0
        self._closed = False
        self._lock = threading.Lock()
        self._processes: list[_CodecProcess] = []
        self._idle: queue.SimpleQueue[_CodecProcess] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, also those that are at work; a call in progress raises CodecError."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for process in self._processes:
            process.kill()
        idle = [self._idle.get() for _ in self._processes]
        for process in idle:
            process.close()
            self._idle.put(process)  # whoever still waits for one learns from it that the work was stopped

    def expect_image(self) -> None:
        """Start a process if one more image is worth it; it imports its codecs while the image downloads."""
        with self._lock:
            self._expected += 1
            wanted = 1 + (self._expected - 1) // IMAGES_FOR_A_PROCESS
            if self._closed or len(self._processes) >= min(wanted, self._most):
                return
            process = _CodecProcess(self._arguments)
            self._processes.append(process)
            self._idle.put(process)
        process.start()

    @property
    def is_waiting(self) -> bool:
        """Whether all processes have started and nothing to do."""
        started = all(process.is_ready for process in self._processes)
        return started and self._idle.qsize() == len(self._processes)

    def compress(
        self, source: bytes, thumbnail_side: int | None = None
    ) -> tuple[CompressedImage, Thumbnails | None]:
        """Compress one image, with thumbnails of `thumbnail_side` pixels if given.

        Raises CodecError, with the codes decoder_crashed and decoder_timeout if the process was lost.
        """
        if not self._processes:
            self.expect_image()
        if not self._processes:
            raise _stopped()
        process = self._idle.get()
        claimed = 0
        try:
            process.send(source, thumbnail_side)
            answer = process.receive(self._timeout)
            if "pixels" in answer:
                self._claim_pixels(answer["pixels"])
                claimed = answer["pixels"]
                process.go_on()
                answer = process.receive(self._timeout)
            if "code" in answer:
                raise CodecError(ErrorCode.of(answer["code"]), answer["detail"])
            data, *thumbnails = process.take(answer["lengths"])
            image = CompressedImage(data=data, **answer["image"])
            return image, Thumbnails(*thumbnails) if thumbnails else None
        finally:
            if claimed:
                self._release_pixels(claimed)
            self._idle.put(process)


class _CodecProcess:
    """One codec process, which is started again after it was lost."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.is_ready = False
        self._stopped = False
        self._lock = threading.Lock()  # of starting against killing

    def start(self) -> None:
        """Start the process unless it runs, without waiting until it is ready."""
        with self._lock:
            if self._stopped:
                raise _stopped()
            if self._process is not None:
                return
            ours, theirs = socket.socketpair()
            self._channel, self._buffer, self.is_ready = Channel(ours), SharedBuffer(), False
            descriptor = self._buffer.descriptor
            with theirs:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "imagi_pipeline.core.images.codec_process"),
                        *(*self._arguments, str(descriptor)),
                    ],
                    stdin=theirs.fileno(),
                    stdout=2,  # what a library prints
                    pass_fds=(descriptor,),
                    env={**_environment(), **KEEP_FREED_MEMORY},
                    start_new_session=True,  # Ctrl-C is for the parent; the end of its input ends this one
                )

    def send(self, source: bytes, thumbnail_side: int | None) -> None:
        order = {"length": len(source), "thumbnail_side": thumbnail_side}
        self.start()
        try:
            self._hand_over(source, order)
        except (OSError, EOFError):  # it died while it was idle, so no image caused that
            self._end()
            self.start()
            try:
                self._hand_over(source, order)
            except (OSError, EOFError):
                raise self._crashed() from None

    def _hand_over(self, source: bytes, order: dict[str, Any]) -> None:
        if not self.is_ready:
            self._channel.receive(_SECONDS_TO_START)
            self.is_ready = True
        self._buffer.write([source])
        self._channel.send(order)

    def go_on(self) -> None:
        try:
            self._channel.send({})
        except OSError:
            raise self._crashed() from None

    def receive(self, timeout: float) -> dict[str, Any]:
        try:
            return self._channel.receive(timeout)
        except TimeoutError:
            self._end()
            raise CodecError(
                ErrorCode.DECODER_TIMEOUT, f"Decoding and encoding took more than {timeout:g} s."
            ) from None
        except (OSError, EOFError, ValueError):
            raise self._crashed() from None

    def take(self, lengths: list[int]) -> list[bytes]:
        """Return what the process left in the buffer."""
        try:
            parts = self._buffer.read(lengths)
        except ValueError:
            raise self._crashed() from None
        self._buffer.trim()
        return parts

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
        self._channel.close()
        self._buffer.close()
        try:  # a process that crashed is gone in a moment, and then its status says why
            return process.wait(0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def kill(self) -> None:
        """End the process for good, whatever it does; whoever uses it learns that when no answer comes."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Free what the process took; nobody may use it any more."""
        self._end()


def _stopped() -> CodecError:
    return CodecError(ErrorCode.DECODER_CRASHED, "The work was stopped.")


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("PYTHON")
    }
