"""A web server on the loopback interface that misbehaves on request: the path says how."""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from imagi_pipeline_tests.threaded_server import ThreadedServer

ETAG = '"version-1"'
LAST_MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"
DRIP_SECONDS = 0.05


def body_of(size: int) -> bytes:
    """`size` bytes that are the same in every call."""
    return bytes(range(256)) * (size // 256) + bytes(range(size % 256))


class MisbehavingServer(ThreadedServer):
    """Serves `_Handler`'s paths on 127.0.0.1 while it is entered; over TLS when it gets a certificate.

    `requests` holds the path and header of every request, `connections` the client's end of each connection.
    """

    def __init__(self, certificate: Path | None = None, key: Path | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections: set[tuple[str, int]] = set()
        super().__init__(partial(_Handler, self))
        self._scheme = "http"
        if certificate:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self.http.socket = context.wrap_socket(
                self.http.socket, server_side=True, do_handshake_on_connect=False
            )

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"


class _Handler(BaseHTTPRequestHandler):
    """`/<behaviour>/<argument>?<option>=...`: each method `do_<behaviour>` below is one way to answer."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    disable_nagle_algorithm = True  # or each small body waits 40 ms for a delayed acknowledgement

    def __init__(self, owner: MisbehavingServer, *args: Any) -> None:
        self.owner = owner
        self.requests_on_connection = 0
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep the test's output clean."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client hung up, as many tests make it do

    def do_GET(self) -> None:
        self.requests_on_connection += 1
        self.owner.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.owner.connections.add(self.client_address)
        parts = urlsplit(self.path)
        behaviour, _, argument = parts.path.lstrip("/").partition("/")
        self.options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        answer: Callable[[str], None] = getattr(self, f"do_{behaviour.replace('-', '_')}")
        answer(argument)

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole, honest answer."""
        self.head(status, **{"Content_Length": str(len(body)), **headers})
        self.wfile.write(body)

    def head(self, status: int, **headers: str) -> None:
        """Only the header; underscores in names stand for hyphens."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def drip(self, piece: bytes) -> None:
        """Send `piece` again and again until the client hangs up or the server stops."""
        self.close_connection = True
        while not self.owner.stopping.wait(DRIP_SECONDS):
            self.connection.sendall(piece)

    # Answers that are as they should be

    def do_image(self, size: str) -> None:
        if self.headers["If-None-Match"] == ETAG or self.headers["If-Modified-Since"] == LAST_MODIFIED:
            self.send(304)
        else:
            self.send(
                200,
                body_of(int(size)),
                Content_Type="Image/JPEG; charset=binary",
                ETag=ETAG,
                Last_Modified=LAST_MODIFIED,
            )

    def do_chunked(self, size: str) -> None:
        self.head(200, Transfer_Encoding="chunked")
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (int(size), body_of(int(size))))

    def do_until_close(self, size: str) -> None:
        self.close_connection = True
        self.head(200, Connection="close")
        self.wfile.write(body_of(int(size)))

    def do_gzip(self, size: str) -> None:
        self.send(200, gzip.compress(body_of(int(size))), Content_Encoding="gzip")

    # Statuses and redirects

    def do_status(self, status: str) -> None:
        headers = {"Retry_After": self.options["retry_after"]} if "retry_after" in self.options else {}
        body = b"" if status in ("204", "304") else b"no image"
        self.send(int(status), body, **headers)

    def do_redirects(self, count: str) -> None:
        """`count` redirects, the next ones relative, then an image."""
        self.send(302, b"moved", Location=f"{int(count) - 1}" if int(count) > 1 else "/image/100")

    def do_redirect_to(self, status: str) -> None:
        self.send(int(status), Location=self.options["location"])

    def do_redirect_to_raw_utf8(self, _: str) -> None:
        self.send(302, Location="/image/100?été".encode().decode("latin-1"))

    def do_redirect_with_endless_body(self, _: str) -> None:
        self.head(302, Location="/image/100", Transfer_Encoding="chunked")
        while True:
            self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    # Sizes

    def do_declared(self, size: str) -> None:
        """Send a header that declares `size` bytes, and no body."""
        self.close_connection = True
        self.head(200, Content_Length=size)

    def do_endless(self, _: str) -> None:
        self.head(200, Connection="close")
        while True:
            self.wfile.write(bytes(0x10000))

    def do_gzip_bomb(self, size: str) -> None:
        # In pieces, so that a test can tell who inflated it.
        bomb = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        pieces = [bomb.compress(bytes(1_000_000)) for _ in range(int(size) // 1_000_000)]
        self.send(200, b"".join(pieces) + bomb.flush(), Content_Encoding="gzip")

    def do_not_really_gzip(self, size: str) -> None:
        self.send(200, body_of(int(size)), Content_Encoding="gzip")

    # Slowness

    def do_silent(self, _: str) -> None:
        self.close_connection = True
        self.owner.stopping.wait(10)

    def do_stalls_in_body(self, _: str) -> None:
        self.head(200, Content_Length="1000")
        self.wfile.write(bytes(500))
        self.do_silent("")

    def do_drips_header(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        self.drip(b"x")

    def do_drips_body(self, _: str) -> None:
        self.head(200, Content_Length="1000000")
        self.drip(b"x")

    def do_drips_body_without_length(self, _: str) -> None:
        self.head(200, Connection="close")
        self.drip(b"x")

    def do_late(self, seconds: str) -> None:
        """The header at once, the body `seconds` later."""
        self.head(200, Content_Length="3")
        time.sleep(float(seconds))
        self.wfile.write(b"abc")

    # Broken connections

    def do_no_answer(self, _: str) -> None:
        self.close_connection = True

    def do_garbage(self, _: str) -> None:
        self.close_connection = True
        self.wfile.write(b"I am no web server\r\n\r\n")

    def do_truncated(self, _: str) -> None:
        self.close_connection = True
        self.head(200, Content_Length="1000")
        self.wfile.write(bytes(500))

    def do_truncated_chunk(self, _: str) -> None:
        self.close_connection = True
        self.head(200, Transfer_Encoding="chunked")
        self.wfile.write(b"100\r\nshort")

    def do_reset(self, _: str) -> None:
        self.close_connection = True
        self.head(200, Content_Length="1000")
        # With no time to linger, close sends a reset; detached, since the base class would say goodbye first.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())

    def do_hangs_up_on_reuse(self, size: str) -> None:
        """Answers the first request of a connection and closes without a word on the second."""
        if self.requests_on_connection == 1:
            self.do_image(size)
        else:
            self.close_connection = True
