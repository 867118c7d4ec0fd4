"""Read the CSVs of strangers: small ones in this process, others in processes that can be ended."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.csv.reading import read_request
from imagi_pipeline.core.csv.table import CsvFindings, findings_from_json
from imagi_pipeline.core.errors import CsvError, ErrorCode

READ_HERE = 1 << 15
"""Bytes of a CSV up to which a process would cost more than it protects from: reading takes linear time."""

_RECYCLED_AFTER = 1 << 23  # bytes of a CSV that leave a process too large to be kept
_SECONDS_BETWEEN_LOOKS = 0.1


class ReadingStoppedError(Exception):
    """The caller does not wait for the CSV any more."""


class CsvReader:
    """Reads as many CSVs at the same time as there are processes; each process is started when first needed.

    A CSV that takes more time or memory than `limits` allow is refused, and its process is ended.
    """

    def __init__(self, limits: CsvLimits, processes: int = 1) -> None:
        self._limits = limits
        self._workers = [_Worker(limits.memory_bytes) for _ in range(processes)]
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
        """End all processes; a call in progress raises CsvError. The reader is not used again."""
        for worker in self._workers:
            worker.kill()
        for _ in self._workers:  # each once its call in progress has ended
            self._idle.get().end()

    def read(
        self,
        data: bytes,
        *,
        url_columns: Sequence[str] = (),
        base_url: str | None = None,
        most: int | None = None,
        stop: threading.Event | None = None,
    ) -> CsvFindings:
        """Return what `read_request` finds in a CSV, with at most `most` references and problems.

        Raises CsvError as `read_request` does, and with csv_timeout and csv_reader_crashed;
        ReadingStoppedError once `stop` is set.
        """
        if len(data) <= READ_HERE:
            return read_request(data, url_columns=url_columns, base_url=base_url, limits=self._limits)
        order = {
            "url_columns": list(url_columns),
            "base_url": base_url,
            "most": most,
            "limits": asdict(self._limits),
        }
        worker = self._idle.get()
        try:
            answer = self._answer(worker, json.dumps(order).encode(), data, stop or threading.Event())
        finally:
            if len(data) > _RECYCLED_AFTER:
                worker.end()
            self._idle.put(worker)
        if "code" in answer:
            kind = ErrorCode.of(answer["code"])
            raise CsvError(kind, answer["detail"], row=answer["row"], column=answer["column"])
        return findings_from_json(answer["found"])

    def _answer(self, worker: _Worker, order: bytes, data: bytes, stop: threading.Event) -> dict[str, Any]:
        # In a thread of its own, since a process that is ended meanwhile would leave the sender waiting.
        sender = threading.Thread(target=worker.send, args=(order, data), daemon=True)
        try:
            worker.start()
            sender.start()
            self._wait(worker, stop)
            answer: dict[str, Any] = json.loads(worker.inbox.recv_bytes())
        except (EOFError, OSError) as error:
            worker.kill()
            detail = "The process that read the file was ended."
            raise CsvError(ErrorCode.CSV_READER_CRASHED, detail) from error
        except BaseException:
            worker.kill()
            raise
        finally:
            # Before a pipe is closed: its number may be that of another file a moment later.
            if sender.ident is not None:
                sender.join()
        return answer

    def _wait(self, worker: _Worker, stop: threading.Event) -> None:
        """Wait until the process answers. Raises CsvError (csv_timeout) and ReadingStoppedError."""
        deadline = time.monotonic() + self._limits.timeout
        while not worker.inbox.poll(_SECONDS_BETWEEN_LOOKS):
            if stop.is_set():
                raise ReadingStoppedError
            if time.monotonic() > deadline:
                detail = f"Reading the file takes more than {self._limits.timeout:g} s."
                raise CsvError(ErrorCode.CSV_TIMEOUT, detail)


class _Worker:
    """One reading process: started when first needed, and again after it was ended."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self.inbox: Connection
        self._outbox: Connection

    def start(self) -> None:
        """Start a process if none runs."""
        if self._process is not None and self._process.poll() is None:
            return
        self.end()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "imagi_pipeline.core.csv.reader_process", str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the parent; the end of its input ends this one
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._outbox = Connection(os.dup(self._process.stdin.fileno()), readable=False)
        self.inbox = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        self._process.stdin.close()
        self._process.stdout.close()

    def send(self, *parts: bytes) -> None:
        """Send the parts. If the process is gone, that is noticed while waiting for its answer."""
        try:
            for part in parts:
                self._outbox.send_bytes(part)
        except OSError:
            return

    def kill(self) -> None:
        """End the process even if it is at work. Its pipes stay open: a thread may still use them."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> None:
        """End the process and close its pipes, which nobody may use any more."""
        self.kill()
        process, self._process = self._process, None
        if process is not None:
            self.inbox.close()
            self._outbox.close()
