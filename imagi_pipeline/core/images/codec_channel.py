"""Exchange messages between the engine and a codec process: one line of JSON each, over a pair of sockets."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

_LONGEST = 1 << 16
"""Bytes of a message; those of an image are not part of it."""


class Channel:
    """One end of the pair; messages take turns, so that at most one is on its way."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: dict[str, Any]) -> None:
        """Send a message. Raises OSError when the other end is closed."""
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the next message.

        Raises TimeoutError when it is not there after `timeout` seconds, EOFError or another OSError when the
        other end is closed, and ValueError when it sends something else.
        """
        ends_at = None if timeout is None else time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            if len(line) > _LONGEST:
                raise ValueError("the message is too long")
            if ends_at is not None:
                self._connection.settimeout(max(0.001, ends_at - time.monotonic()))
            piece = self._connection.recv(_LONGEST)
            if not piece:
                raise EOFError
            line += piece
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("the message is no JSON object")  # noqa: TRY004 - bad data, no bad call
        return message

    def close(self) -> None:
        """Close this end."""
        self._connection.close()
