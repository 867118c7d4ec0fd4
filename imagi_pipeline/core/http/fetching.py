"""URL -> bytes, guarded: one attempt to download one source image, or to post one message.

Here belongs what an answer may be: where it redirects to, how large its body is, the name of each failure.
Which addresses may be dialled is address_guard.py, how long an attempt may take is deadline.py. Scheduling
belongs to none of them: the engine decides when an attempt is made again and how many run against one host;
`retry_delay` only tells it how long to wait.

requests' `HTTPAdapter` is used without its `Session`, which would read the whole body of a redirect and keep
cookies. The adapter looks at no environment variable, so no proxy can come between the guard and the host.
"""

from __future__ import annotations

import functools
import random
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.deadline import Attempt, Watchdog
from imagi_pipeline.core.http.limits import FetchLimits

MAX_REDIRECTS = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WHOLE_IMAGE = frozenset({200, 203})
_NO_CONTENT = frozenset({204, 205})

_PIECE_BYTES = 1 << 20
_DISCARDED_BYTES = 1 << 14
_HOSTS_KEPT_ALIVE = 4  # per thread: connections to more hosts than this cost file descriptors

_BACKOFF_BASE = 0.5
_BACKOFF_LIMIT = 30.0
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """A source image as its host sent it, content encoding undone.

    `media_type` is what the host declares, which need not be true. `etag` and `last_modified` are for a later
    conditional request. `final_url` is where the redirects ended.
    """

    data: bytes
    media_type: str | None
    etag: str | None
    last_modified: str | None
    final_url: str


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """How a host answered a message: its HTTP status, and the seconds that it asked to wait, if it did."""

    status: int
    retry_after: float | None


class Fetcher:
    """Downloads images, many threads at a time, each with its own kept-alive connections."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._tls = _tls_context()
        self._watchdog = Watchdog()
        self._of_thread = threading.local()
        self._adapters: weakref.WeakSet[_GuardedAdapter] = weakref.WeakSet()
        self._adapters_lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every running download as if its deadline had come, and close all connections."""
        self._watchdog.close()
        with self._adapters_lock:
            for adapter in self._adapters:
                adapter.close()

    def fetch(
        self,
        url: str,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        claim_bytes: Callable[[int], None] | None = None,
    ) -> FetchedImage | None:
        """Make one attempt, redirects included, to download the image at `url`.

        With `etag` or `last_modified` the request is conditional; None means that the image has not changed.

        `claim_bytes` is called once before a body is read, with the most bytes it can have. It may block: the
        deadline stands still meanwhile.

        Raises FetchError, whose code says what went wrong and whether a later attempt may succeed. The
        deadline holds for everything but the system's resolver, which cannot be interrupted.
        """
        with self._attempt(url) as attempt:
            response = self._follow(attempt, _request_headers(etag, last_modified))
            with closing(response):
                if response.status_code == 304 and (etag or last_modified):
                    _discard(response.raw)
                    return None
                self._check_answer(response, attempt.host)
                self._claim(attempt, response, claim_bytes)
                data = self._read(attempt, response.raw)
        return _fetched_image(data, response)

    def post(self, url: str, data: bytes, headers: Mapping[str, str]) -> PostAnswer:
        """Make one attempt to post `data` to `url`; any status is an answer, and no redirect is followed.

        The host may have got the message although this raises FetchError, and it may get it twice.
        """
        with self._attempt(url) as attempt:
            request = _prepare_first(url, {"User-Agent": _user_agent(), **headers}, data)
            attempt.url = str(request.url)
            with closing(self._send(request)) as response:
                attempt.time_left()  # a header that the watchdog cut looks like a whole one
                _discard(response.raw)
                return PostAnswer(response.status_code, _retry_after(response.headers.get("Retry-After")))

    @contextmanager
    def _attempt(self, url: str) -> Iterator[Attempt]:
        """What is sent in a `with` block is guarded and has one deadline; its failures become FetchError."""
        attempt = Attempt(self._limits, url)
        token = _current_attempt.set(attempt)
        self._watchdog.watch(attempt)
        try:
            yield attempt
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise _transport_failure(error, attempt) from error
        finally:
            self._watchdog.unwatch(attempt)
            _current_attempt.reset(token)

    def _follow(self, attempt: Attempt, headers: Mapping[str, str]) -> requests.Response:
        """The first answer that is no redirect; its body is not read yet."""
        request = _prepare_first(attempt.url, headers)
        for _ in range(MAX_REDIRECTS + 1):
            attempt.url = str(request.url)
            response = self._send(request)
            if response.status_code not in _REDIRECTS:
                return response
            with closing(response):
                request = _redirected(response, attempt.host, headers)
                _discard(response.raw)
        raise FetchError(ErrorCode.TOO_MANY_REDIRECTS, f"The URL redirects more than {MAX_REDIRECTS} times.")

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        timeout = (self._limits.connect_timeout, self._limits.read_timeout)
        adapter = self._adapter()
        with suppress(_IdleConnectionClosedError):
            return adapter.send(request, stream=True, timeout=timeout)
        return adapter.send(request, stream=True, timeout=timeout)

    def _adapter(self) -> _GuardedAdapter:
        """This thread's own: its connections are never shared, so the watchdog cuts nobody else's."""
        adapter: _GuardedAdapter | None = getattr(self._of_thread, "adapter", None)
        if adapter is None:
            adapter = self._of_thread.adapter = _GuardedAdapter(self._tls)
            with self._adapters_lock:
                self._adapters.add(adapter)
        return adapter

    def _check_answer(self, response: requests.Response, host: str) -> None:
        if response.status_code not in _WHOLE_IMAGE:
            _discard(response.raw)
            raise _status_failure(response, host)
        length = response.raw.length_remaining
        if length is not None and length > self._limits.max_bytes:
            raise self._too_large(host, f"{length:,}")

    def _claim(
        self,
        attempt: Attempt,
        response: requests.Response,
        claim_bytes: Callable[[int], None] | None,
    ) -> None:
        if claim_bytes is None:
            return
        most = response.raw.length_remaining
        if most is None or "Content-Encoding" in response.headers:
            most = self._limits.max_bytes
        with self._watchdog.paused(attempt):
            claim_bytes(most)

    def _read(self, attempt: Attempt, raw: urllib3.HTTPResponse) -> bytes:
        limit = self._limits.max_bytes
        encoded = "Content-Encoding" in raw.headers
        pieces: list[bytes] = []
        size = 0
        # In one piece if the size is known: joining pieces takes the memory twice.
        most = (not encoded and raw.length_remaining) or _PIECE_BYTES
        # One byte more than the limit tells a body that is too large; a gzip bomb is inflated no further.
        while piece := raw.read(min(most, limit + 1 - size), decode_content=encoded):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise self._too_large(attempt.host, f"at least {size:,}")
        # A body without a length ends with its connection, hence also where the watchdog cut it.
        attempt.time_left()
        if not pieces:
            raise FetchError(ErrorCode.EMPTY_BODY, f"{attempt.host} sent an empty file.")
        return b"".join(pieces)

    def _too_large(self, host: str, size: str) -> FetchError:
        limit = self._limits.max_bytes
        return FetchError(ErrorCode.TOO_LARGE, f"{host} sends {size} bytes; the limit is {limit:,} bytes.")


def retry_delay(error: FetchError, attempt: int, limits: FetchLimits) -> float | None:
    """Seconds to wait before the next attempt; None when there must be none.

    `attempt` is the number of attempts made so far. The wait is exponential backoff with full jitter, on top
    of what the host asked for with Retry-After.
    """
    asked = error.retry_after or 0.0
    if not error.transient or attempt >= limits.attempts or asked > limits.max_retry_after:
        return None
    return asked + _random.uniform(0, min(_BACKOFF_LIMIT, _BACKOFF_BASE * 2 ** (attempt - 1)))


# Requests and answers


def _request_headers(etag: str | None, last_modified: str | None) -> dict[str, str]:
    headers = {
        "User-Agent": _user_agent(),
        "Accept": "image/*,*/*;q=0.8",
        "Accept-Encoding": "identity",
    }
    if etag:
        headers["If-None-Match"] = etag
    if last_modified:
        headers["If-Modified-Since"] = last_modified
    return headers


@functools.cache
def _user_agent() -> str:
    try:
        version = metadata.version("imagi_pipeline")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        version = "0"
    return f"imagi_pipeline/{version} (+https://github.com/imagi-pipeline)"


def _prepare_first(
    url: str, headers: Mapping[str, str], data: bytes | None = None
) -> requests.PreparedRequest:
    try:
        return _prepare(url, headers, data)
    except ValueError as error:
        raise FetchError(ErrorCode.INVALID_URL, f"The URL cannot be used: {error}.") from error


def _prepare(url: str, headers: Mapping[str, str], data: bytes | None = None) -> requests.PreparedRequest:
    """The GET or, with data, POST request; ValueError with the reason when it is no plain http(s) URL."""
    request = requests.PreparedRequest()
    request.prepare(method="GET" if data is None else "POST", url=url, headers=headers, data=data)
    parts = urlsplit(request.url or "")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"its scheme is {str(parts.scheme)!r}, not http or https")
    if "@" in parts.netloc:
        raise ValueError("it carries a user name or password")
    return request


def _redirected(
    response: requests.Response, host: str, headers: Mapping[str, str]
) -> requests.PreparedRequest:
    try:
        # http.client reads headers as Latin-1; hosts that put anything beyond ASCII there mean UTF-8.
        location = response.headers["Location"].encode("latin-1").decode()
        return _prepare(urljoin(response.url, location), headers)
    except KeyError as error:
        raise FetchError(ErrorCode.BAD_REDIRECT, f"{host} redirects to nowhere.") from error
    except ValueError as error:
        raise FetchError(
            ErrorCode.BAD_REDIRECT, f"{host} redirects to a URL that cannot be used: {error}."
        ) from error


def _discard(raw: urllib3.HTTPResponse) -> None:
    """Read a body nobody wants if it is short, so that its connection can be used again."""
    with suppress(OSError, urllib3.exceptions.HTTPError):
        raw.read(_DISCARDED_BYTES, decode_content=False)


def _fetched_image(data: bytes, response: requests.Response) -> FetchedImage:
    headers = response.headers
    return FetchedImage(
        data=data,
        media_type=headers.get("Content-Type", "").partition(";")[0].strip().lower() or None,
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        final_url=response.url,
    )


# Failures


def _status_failure(response: requests.Response, host: str) -> FetchError:
    status = response.status_code
    return FetchError(
        _status_code(status),
        f"{host} answered {status} {response.reason}".rstrip() + ".",
        _retry_after(response.headers.get("Retry-After")),
    )


def _status_code(status: int) -> ErrorCode:
    if status in _NO_CONTENT:
        return ErrorCode.EMPTY_BODY
    if status in (404, 410):
        return ErrorCode.HTTP_404
    if status == 408:
        return ErrorCode.TIMEOUT
    if status == 429:
        return ErrorCode.RATE_LIMITED
    if 500 <= status < 600:
        return ErrorCode.SERVER_ERROR
    return ErrorCode.HTTP_STATUS


def _retry_after(value: str | None) -> float | None:
    """Seconds from now, out of a header that holds seconds or an HTTP-date; None when it holds neither."""
    if value is None:
        return None
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _transport_failure(error: Exception, attempt: Attempt) -> FetchError:
    """What an exception of requests, urllib3 or the socket means; the cause lies deep in their wrappers."""
    causes = list(_causes(error))
    host = attempt.host
    if attempt.is_over:
        seconds = attempt.limits.deadline
        return FetchError(ErrorCode.TIMEOUT, f"{host} was not done after {seconds:g} seconds.")
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return FetchError(ErrorCode.TIMEOUT, f"{host} kept silent for too long.")
    if any(_is_tls_failure(cause) for cause in causes):
        return FetchError(ErrorCode.TLS_ERROR, f"No safe connection to {host}: {causes[-1]}.")
    return FetchError(ErrorCode.CONNECTION_ERROR, f"The connection to {host} broke: {causes[-1]}.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_tls_failure(error: BaseException) -> bool:
    hung_up = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return isinstance(error, ssl.SSLError) and not hung_up


# Connections

# urllib3 makes connections deep inside `send`: this is how they know for which attempt.
_current_attempt: ContextVar[Attempt] = ContextVar("_current_attempt")


class _IdleConnectionClosedError(Exception):
    """The host closed a kept-alive connection at the moment it was used again; nothing was lost.

    No OSError, so that urllib3 and requests let it pass.
    """


class _GuardedHTTPConnection(HTTPConnection):
    """A connection that dials only what the current attempt allows, and that its watchdog can cut."""

    _has_answered = False

    def _new_conn(self) -> socket.socket:
        self._has_answered = False
        return _current_attempt.get().dial(self._dns_host, self.port)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as in urllib3
        """Read the header of the answer."""
        attempt = _current_attempt.get()
        attempt.listens_on(self.sock)
        try:
            response = super().getresponse()
        except (ConnectionError, ssl.SSLEOFError) as error:
            if self._has_answered and not attempt.is_over:
                raise _IdleConnectionClosedError from error
            raise
        self._has_answered = True
        return response


class _GuardedHTTPSConnection(_GuardedHTTPConnection, HTTPSConnection):
    """The same over TLS."""


class _GuardedHTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _GuardedHTTPConnection


class _GuardedHTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _GuardedHTTPSConnection


class _GuardedAdapter(HTTPAdapter):
    """requests' adapter on guarded connections, one to a host, and one TLS context for all of them."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__(pool_connections=_HOSTS_KEPT_ALIVE, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Called by the base class, with arguments that are its own affair."""
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _GuardedHTTPPool,
            "https": _GuardedHTTPSPool,
        }

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the base class would load all certificates anew for each connection."""


def _tls_context() -> ssl.SSLContext:
    """Trusts what requests trusts, and the authorities that this system trusts, such as a company's own."""
    context = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
    context.load_default_certs()
    return context
