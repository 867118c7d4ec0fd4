"""The limits before the application, tried by raw sockets on a server that is run as ours are."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from imagi_pipeline.service import http_server
from imagi_pipeline.service.http_server import MAX_HEADER_BYTES, MAX_HEADER_FIELDS, http_config
from imagi_pipeline_tests.running_service import free_port, wait_for

LONG = 30
"""Seconds after which a test gives up."""


class Application:
    """Answers how many bytes it was sent; what it has seen is kept."""

    def __init__(self) -> None:
        self.headers = 0
        self.ends: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.headers += 1
        size = 0
        message: Message = {"more_body": scope["path"] != "/unread"}
        while message.get("more_body"):
            message = await receive()
            size += len(message.get("body", b""))
        self.ends.append(message.get("type", "unread"))
        body = str(size).encode()
        fields = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})


@contextmanager
def served(app: Application) -> Iterator[tuple[str, int]]:
    port = free_port()
    server = uvicorn.Server(http_config(app, "127.0.0.1", port))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield "127.0.0.1", port
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def address(app: Application) -> Iterator[tuple[str, int]]:
    with served(app) as found:
        yield found


@pytest.fixture
def short_time_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenths of a second, in place of seconds."""
    monkeypatch.setattr(http_server, "SECONDS_FOR_HEADER", 0.5)
    monkeypatch.setattr(http_server, "SECONDS_FOR_BODY", 0.5)


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=LONG)


def answer(client: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection."""
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def flood(client: socket.socket, piece: bytes, most: int) -> int:
    """Return how many bytes of `piece`, sent again and again, the server takes: `most` if it takes all."""
    sent = 0
    while sent < most:
        try:
            client.sendall(piece)
        except OSError:
            break
        sent += len(piece)
    return sent


@pytest.mark.parametrize("field", [b"X-Padding: " + b"a" * 8000 + b"\r\n", b"a:b\r\n"])
def test_a_header_without_end_is_cut_off(app: Application, address: tuple[str, int], field: bytes) -> None:
    with connect(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert flood(client, field * 10, 100_000_000) < 20_000_000  # the buffers of two kernels
    assert app.headers == 0


def test_a_header_that_is_too_large_is_told_so(address: tuple[str, int]) -> None:
    with connect(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Padding: " + b"a" * MAX_HEADER_BYTES)
        assert answer(client).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "fields", [b"a:b\r\n" * MAX_HEADER_FIELDS, b"a: " + b"b" * MAX_HEADER_BYTES + b"\r\n"]
)
def test_a_whole_header_that_is_too_large_does_not_reach_the_application(
    app: Application, address: tuple[str, int], fields: bytes
) -> None:
    with connect(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
        assert answer(client).startswith(b"HTTP/1.1 431 ")
    assert app.headers == 0


def test_a_header_within_the_limits_is_served(address: tuple[str, int]) -> None:
    fields = b"a: " + b"b" * 300 + b"\r\n"
    with connect(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + fields * 90 + b"\r\n")
        assert answer(client).startswith(b"HTTP/1.1 200 ")


def drip(client: socket.socket, piece: bytes) -> bytes:
    """Return the answer of a server that gets a piece ten times a second."""
    deadline = time.monotonic() + LONG
    client.settimeout(0.1)
    received = b""
    while time.monotonic() < deadline:
        try:
            client.sendall(piece)
            if not (part := client.recv(65536)):
                return received
            received += part
        except TimeoutError:
            continue
        except OSError:
            return received
    raise AssertionError("the connection is still open")


@pytest.mark.usefixtures("short_time_limits")
@pytest.mark.parametrize(
    "begin", [b"", b"GET / HTTP/1.1\r\nHost: a", b"GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET / HT"]
)
def test_a_header_that_does_not_end_ends_the_connection(address: tuple[str, int], begin: bytes) -> None:
    with connect(address) as client:
        client.sendall(begin)
        assert b"HTTP/1.1 408 " in answer(client)


@pytest.mark.usefixtures("short_time_limits")
def test_a_header_that_drips_ends_the_connection(address: tuple[str, int]) -> None:
    with connect(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Drip: ")
        assert drip(client, b"x").startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("short_time_limits")
@pytest.mark.parametrize("piece", [b"", b"x"])
def test_a_body_that_stalls_or_drips_ends_the_connection_and_the_application_is_told(
    app: Application, address: tuple[str, int], piece: bytes
) -> None:
    with connect(address) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin")
        received = drip(client, piece) if piece else answer(client)
        assert received.startswith(b"HTTP/1.1 408 ")
    wait_for(lambda: app.ends == ["http.disconnect"], LONG)


def test_a_large_body_that_keeps_coming_has_more_time_than_a_small_one(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "SECONDS_FOR_BODY", 3.0)
    monkeypatch.setattr(http_server, "MIN_BYTES_PER_SECOND", 20)
    with connect(address) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3000\r\n\r\n")
        for _ in range(3):  # 1,000 bytes are worth 50 seconds
            client.sendall(b"x" * 1000)
            time.sleep(1.2)
        assert answer(client).endswith(b"\r\n\r\n3000")


@pytest.mark.usefixtures("short_time_limits")
def test_an_answered_request_whose_body_goes_on_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, address: tuple[str, int]
) -> None:
    monkeypatch.setattr(http_server, "SECONDS_FOR_BODY", LONG * 2.0)
    with connect(address) as client:
        client.sendall(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert flood(client, b"x" * 65536, 100_000_000) < 20_000_000


@pytest.mark.usefixtures("short_time_limits")
def test_two_requests_sent_at_once_are_both_answered_and_the_second_has_to_end_in_time(
    address: tuple[str, int],
) -> None:
    with connect(address) as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
        client.sendall(head + b"whole" + head + b"par")
        received = answer(client)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in received
