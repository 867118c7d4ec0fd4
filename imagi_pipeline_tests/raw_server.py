"""A host on loopback that sends bytes as they are, whether they are HTTP or not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Self, TypeAlias

RawAnswer: TypeAlias = bytes | Callable[[bytes], bytes]


def answer(
    body: bytes = b"", *lines: bytes, status: bytes = b"200 OK", length: bool = True, end: bytes = b"\r\n"
) -> bytes:
    """Return an answer with these header lines, one connection each."""
    head = [b"HTTP/1.1 " + status, b"Connection: close", *lines]
    if length:
        head.append(b"Content-Length: %d" % len(body))
    return end.join([*head, b"", body])


class RawServer:
    """Answers by path, with bytes or with what a function makes of the request, and hangs up."""

    def __init__(self, answers: Mapping[bytes, RawAnswer]) -> None:
        self.asked: list[bytes] = []
        self.requests: list[bytes] = []
        self._answers = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # the client may hang up first
                connection.settimeout(10)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(65536)
            if not piece:
                return
            request += piece
        path = request.split(b" ", 2)[1]
        self.asked.append(path)
        self.requests.append(request)
        raw = self._answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        connection.sendall(raw if isinstance(raw, bytes) else raw(request))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # or the rest of what was sent may be lost by a reset
            pass
