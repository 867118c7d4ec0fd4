"""One attempt to download: its deadline, and the connections that end with it.

The deadline spans everything from the first dialling to the last byte, redirects included. What is asked and
what an answer means is fetching.py.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.address_guard import dialable_addresses
from imagi_pipeline.core.http.limits import FetchLimits


class Attempt:
    """One call of `fetch` or `post` as its connections see it: where it is, what it may dial, how long."""

    def __init__(self, limits: FetchLimits, url: str) -> None:
        self.limits = limits
        self.url = url
        self.ends_at = time.monotonic() + limits.deadline
        self._socket: socket.socket | None = None

    @property
    def host(self) -> str:
        """The host of the URL that is asked now, as messages name it."""
        return urlsplit(self.url).hostname or "The host"

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.ends_at

    def time_left(self) -> float:
        """Seconds until the deadline; TimeoutError when it has passed."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left

    def listens_on(self, connection: socket.socket) -> None:
        """Name the socket that is read from now on, so that `cut` ends the reading."""
        self._socket = connection
        # The watchdog may have come while there was no socket to shut down.
        self.time_left()

    def cut(self) -> None:
        """End any reading at once, from another thread."""
        if self._socket is not None:
            with suppress(OSError):  # closed already
                # An SSLSocket's own shutdown drops its TLS state under the feet of the reading thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def give_up(self) -> None:
        """End the attempt as if its deadline had come."""
        self.ends_at = time.monotonic()
        self.cut()

    def dial(self, host: str, port: int) -> socket.socket:
        """A connection to the first address of `host` that accepts one; raises FetchError."""
        failure = OSError("it has no address")
        for family, address in dialable_addresses(host, port, self.limits.allowed_networks):
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(self._dial_timeout())
                connection.connect(address)
                connection.settimeout(self._dial_timeout())  # for a TLS handshake as a whole
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise _dial_failure(failure, host) from failure

    def _dial_timeout(self) -> float:
        return min(self.limits.connect_timeout, self.time_left())


class Watchdog:
    """Cuts every attempt off at its deadline, from a thread of its own.

    A socket's timeout starts anew with each piece, so a host that sends a byte now and then, of the header
    or of the body, would hold a thread for ever.
    """

    _IDLE_SECONDS = 3600.0

    def __init__(self) -> None:
        self._attempts: set[Attempt] = set()
        self._changed = threading.Condition()
        self._wakes_at = math.inf
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="imagi-download-deadlines", daemon=True)
        self._thread.start()

    def watch(self, attempt: Attempt) -> None:
        """Cut `attempt` off when its deadline comes."""
        with self._changed:
            if self._closed:
                attempt.give_up()
            self._attempts.add(attempt)
            # Most attempts end later than the one it sleeps for: to wake it each time would cost CPU.
            if attempt.ends_at < self._wakes_at:
                self._changed.notify()

    def unwatch(self, attempt: Attempt) -> None:
        """Leave `attempt` alone from now on."""
        with self._changed:
            self._attempts.discard(attempt)

    @contextmanager
    def paused(self, attempt: Attempt) -> Iterator[None]:
        """Stop the clock of `attempt` for the time of a `with` block."""
        self.unwatch(attempt)
        left = attempt.ends_at - time.monotonic()
        try:
            yield
        finally:
            attempt.ends_at = time.monotonic() + left
            self.watch(attempt)

    def close(self) -> None:
        """End the deadline of every attempt now, also of those that are still to come."""
        with self._changed:
            self._closed = True
            for attempt in self._attempts:
                attempt.give_up()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                self._cut_overdue()
                now = time.monotonic()
                self._wakes_at = min(
                    (attempt.ends_at for attempt in self._attempts),
                    default=now + self._IDLE_SECONDS,
                )
                self._changed.wait(self._wakes_at - now)

    def _cut_overdue(self) -> None:
        overdue = {attempt for attempt in self._attempts if attempt.is_over}
        self._attempts -= overdue
        for attempt in overdue:
            attempt.cut()


def _dial_failure(error: OSError, host: str) -> FetchError:
    if isinstance(error, TimeoutError):
        return FetchError(ErrorCode.TIMEOUT, f"{host} did not accept a connection in time.")
    if isinstance(error, ConnectionRefusedError):
        return FetchError(ErrorCode.CONNECTION_REFUSED, f"{host} refused the connection.")
    return FetchError(ErrorCode.CONNECTION_ERROR, f"{host} cannot be reached: {error}.")
