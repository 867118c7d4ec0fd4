"""A receiver of callbacks on loopback: it answers as the test says, and keeps what it got."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

from standardwebhooks import Webhook

from imagi_pipeline_tests.threaded_server import ThreadedServer

HANGS, DRIPS, HANGS_UP, ENDLESS = -1, -2, -3, -4
"""In place of a status: no answer, a header without end, a closed connection, a body without end."""

_DRIP_SECONDS = 0.05


@dataclass(frozen=True)
class Message:
    """One POST; the names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """Return its document, once the library has found it signed with `secret`."""
        return Webhook(secret).verify(self.body, self.headers)


class CallbackReceiver(ThreadedServer):
    """Answers 200, or first the statuses in `answers` of the path; `headers` go with every answer."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.connections: set[tuple[str, int]] = set()
        self.answers: dict[str, list[int]] = {}
        self.headers: dict[str, str] = {}
        self.got_one = threading.Condition()
        super().__init__(partial(_Handler, self))

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def wait_for(self, count: int) -> list[Message]:
        """Return the messages, once there are `count`."""
        with self.got_one:
            assert self.got_one.wait_for(lambda: len(self.messages) >= count, 30), self.messages
            return list(self.messages)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, receiver: CallbackReceiver, *args: Any) -> None:
        self.receiver = receiver
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the test's output clean."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the sender hung up, as many tests make it do
            super().handle()

    def do_GET(self) -> None:
        """Take the GET into which a sender turns a POST that it follows through a redirect."""
        self.do_POST()

    def do_POST(self) -> None:
        receiver = self.receiver
        receiver.connections.add(self.client_address)
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with receiver.got_one:
            statuses = receiver.answers.get(self.path)
            status = statuses.pop(0) if statuses else 200
            receiver.messages.append(Message(self.path, headers, body))
            receiver.got_one.notify_all()
        if status > 0:
            self._head(status, "3")
            self.wfile.write(b"ok\n")
        else:
            self.close_connection = True
            self._misbehave(status)

    def _misbehave(self, how: int) -> None:
        if how == HANGS:
            self.receiver.stopping.wait(30)
        elif how == DRIPS:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not self.receiver.stopping.wait(_DRIP_SECONDS):
                self.connection.sendall(b"x")
        elif how == ENDLESS:
            self._head(200, str(10**9))
            while True:
                self.wfile.write(bytes(0x10000))

    def _head(self, status: int, length: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": length, **self.receiver.headers}.items():
            self.send_header(name, value)
        self.end_headers()
