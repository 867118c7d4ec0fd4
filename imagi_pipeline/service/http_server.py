"""Run the HTTP server of both web applications: uvicorn, with limits on what comes before them.

uvicorn hands a request to the application once its header is complete, so a client that never ends its
header, or its body, never meets a limit of the application. The limits here hold before anybody has
authenticated.

This relies on uvicorn (0.54) and h11 (0.16), as `test_http_server.py` checks: `H11Protocol` has the
attributes `conn`, `cycle`, `flow`, `loop` and `transport`, and answers a malformed request by
`send_400_response`.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEADER_BYTES = 32_768
MAX_HEADER_FIELDS = 100
SECONDS_FOR_HEADER = 10.0
SECONDS_FOR_BODY = 20.0
MIN_BYTES_PER_SECOND = 500
"""A body has 20 seconds, and one more for each 500 bytes that came: the rule of Apache's mod_reqtimeout."""
MAX_UNREAD_BYTES = 1 << 20
"""Bytes of a body that are still received after the answer was sent without reading it."""

SECONDS_TO_FINISH = 10
"""Seconds that calls under way may take when the server is told to stop."""

TOO_LARGE = f"A request header may have {MAX_HEADER_FIELDS} fields and {MAX_HEADER_BYTES:,} bytes."
TOO_SLOW = "The request did not arrive in time."


def run_http_server(app: ASGIApp, host: str, port: int) -> None:
    """Serve an application until SIGINT or SIGTERM."""
    with contextlib.suppress(KeyboardInterrupt):  # SIGINT, after all is finished
        uvicorn.Server(http_config(app, host, port)).run()


def http_config(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    """Return uvicorn's configuration with our limits."""
    return uvicorn.Config(
        HeaderLimit(app),
        host=host,
        port=port,
        http=PatientProtocol,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )


class HeaderLimit:
    """Answers 431 to a header with too many fields or bytes: uvicorn limits incomplete headers only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        headers: list[tuple[bytes, bytes]] = scope.get("headers", [])
        size = sum(len(name) + len(value) for name, value in headers)
        if len(headers) <= MAX_HEADER_FIELDS and size <= MAX_HEADER_BYTES:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 431, "headers": fields})
            await send({"type": "http.response.body", "body": TOO_LARGE.encode()})


class PatientProtocol(H11Protocol):
    """Waits for the header and the body of a call for a limited time, then closes the connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._awaited: Any = None  # h11.IDLE: a header, h11.SEND_BODY: a body, None: nothing
        self._since = 0.0
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first header."""
        super().connection_made(transport)
        self._note_state()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._await(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes of a call."""
        if self._awaited is h11.IDLE and not self._received:
            self._since = self.loop.time()  # the connection was idle until now
        self._received += len(data)
        super().data_received(data)
        self._note_state()

    def on_response_complete(self) -> None:
        """Continue with the next call on the connection, if the client has sent it already."""
        super().on_response_complete()
        self._note_state()

    def send_400_response(self, msg: str) -> None:
        """Tell a header that is too large from one that is malformed."""
        if len(self.conn.trailing_data[0]) > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TOO_LARGE)
        else:
            super().send_400_response(msg)

    def _note_state(self) -> None:
        state = self.conn.their_state
        is_ours = self.transport.get_protocol() is self and not self.transport.is_closing()  # no websocket
        self._await(state if is_ours and state in (h11.IDLE, h11.SEND_BODY) else None)
        is_answered = self._awaited is h11.SEND_BODY and self.conn.our_state is h11.DONE
        if is_answered and self._received > MAX_UNREAD_BYTES:
            self.transport.close()

    def _await(self, state: Any) -> None:
        if state is self._awaited:
            return
        self._awaited, self._since, self._received = state, self.loop.time(), 0
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if state is not None:
            self._timer = self.loop.call_at(self._deadline(), self._check_deadline)

    def _deadline(self) -> float:
        if self._awaited is h11.IDLE:
            return self._since + SECONDS_FOR_HEADER
        return self._since + SECONDS_FOR_BODY + self._received / MIN_BYTES_PER_SECOND

    def _check_deadline(self) -> None:
        if self.flow.read_paused:  # it is the application that does not read
            self._since = self.loop.time()
        if self.loop.time() < self._deadline():
            self._timer = self.loop.call_at(self._deadline(), self._check_deadline)
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, TOO_SLOW)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer, unless an answer has begun, and close the connection; the application sees a disconnect."""
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE, h11.ERROR):
            lines = (
                f"HTTP/1.1 {status.value} {status.phrase}",
                "content-type: text/plain; charset=utf-8",
                f"content-length: {len(reason)}",
                "connection: close",
            )
            self.transport.write("\r\n".join((*lines, "", reason)).encode())
        self.transport.close()
