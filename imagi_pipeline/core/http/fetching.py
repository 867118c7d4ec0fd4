"""Make one attempt to download one source image.

Here it is decided which answers are an image: where they redirect to, how large they are. client.py makes
and guards the call. The engine decides when an attempt is made again and how many run against one host;
retry_after.py tells it how long to wait.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.client import GuardedClient, Handle
from imagi_pipeline.core.http.deadline import Deadline
from imagi_pipeline.core.http.decoding import Decoding, encodings_in
from imagi_pipeline.core.http.failures import of_status
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline.core.http.target import Target
from imagi_pipeline.core.http.transfer import Answer, Call, Sink
from imagi_pipeline.core.printable import printable

MAX_REDIRECTS = 20
"""Browsers follow as many."""

LONGEST_VALIDATOR = 1_000
"""Characters of an ETag or a date that are kept for a conditional request; longer ones are not."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WHOLE_IMAGE = frozenset({200, 203})


class Writable(Protocol):
    """Takes the bytes of an image piece by piece: a file, a memory file, or an io.BytesIO."""

    def write(self, piece: bytes, /) -> object:
        """Take the next piece, whole."""


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """A source image as its host sent it, content encoding undone.

    `data` is empty when it was written elsewhere, `size` is its bytes in any case. `media_type` is what the
    host declares, which need not be true. `etag` and `last_modified` are for a later conditional request.
    `final_url` is where the redirects ended. `is_whole` is False where the host did not say how long the
    image is: if it then proves to be cut, the connection may have broken unseen.
    """

    data: bytes
    size: int
    media_type: str | None
    etag: str | None
    last_modified: str | None
    final_url: str
    is_whole: bool = True


class Fetcher:
    """Downloads images, many threads at a time, on kept-alive connections."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._client = GuardedClient(limits)

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
        self._client.close()

    def fetch(
        self,
        url: str,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        claim_bytes: Callable[[int], None] | None = None,
        into: Writable | None = None,
    ) -> FetchedImage | None:
        """Make one attempt, redirects included, to download the image at `url`.

        With `etag` or `last_modified` the request is conditional; None means that the image has not changed.

        `claim_bytes` is called once before a body is read, with the most bytes it can have. It may block: the
        deadline stands still meanwhile. The image is written `into` a file, if one is given, or returned.

        Raises FetchError, whose code says what went wrong and whether a later attempt may succeed.
        """
        target = _first_target(url)
        headers = self._headers(target, etag, last_modified)
        download = _Download(self._limits, Deadline(self._limits.deadline), claim_bytes, into)
        with self._client.chain() as chain:
            answer, target = download.follow(chain, target, headers)
        if answer.status == 304 and (etag or last_modified):
            return None
        return download.image(answer, target)

    def _headers(self, target: Target, etag: str | None, last_modified: str | None) -> dict[str, str]:
        headers = {
            "User-Agent": self._limits.user_agent,
            "Accept": "image/*,*/*;q=0.8",
            "Accept-Encoding": "identity",
        }
        if self._limits.sends_origin_as_referer:
            headers["Referer"] = f"{target.origin}/"
        if etag:
            headers["If-None-Match"] = etag
        if last_modified:
            headers["If-Modified-Since"] = last_modified
        return headers


class _Download:
    """One attempt: the chain of calls, and the body of the answer at its end."""

    def __init__(
        self,
        limits: FetchLimits,
        deadline: Deadline,
        claim_bytes: Callable[[int], None] | None,
        into: Writable | None,
    ) -> None:
        self._limit = limits.max_bytes
        self._deadline = deadline
        self._claim_bytes = claim_bytes
        self._own = io.BytesIO()  # hands its buffer out without another copy
        self._write = (self._own if into is None else into).write
        self._size = 0
        self._host = ""

    def follow(self, chain: Handle, target: Target, headers: dict[str, str]) -> tuple[Answer, Target]:
        """Return the first answer that is no redirect, and where it came from."""
        for _ in range(MAX_REDIRECTS + 1):
            self._host = target.host
            answer = chain.call(Call(target, headers, self._deadline, self._body_to))
            if answer.status not in _REDIRECTS:
                return answer, target
            target = _redirected(target, answer)
        raise FetchError(ErrorCode.TOO_MANY_REDIRECTS, f"The URL redirects more than {MAX_REDIRECTS} times.")

    def image(self, answer: Answer, target: Target) -> FetchedImage:
        """Return what was downloaded; raises FetchError when the answer held no image."""
        headers = answer.headers
        if answer.status not in _WHOLE_IMAGE:
            raise of_status(answer.status, answer.reason, headers.get("retry-after"), self._host)
        if not self._size:
            raise FetchError(ErrorCode.EMPTY_BODY, f"{self._host} sent an empty file.")
        media_type = printable(headers.get("content-type", "").partition(";")[0]).lower()
        return FetchedImage(
            data=self._own.getvalue(),
            size=self._size,
            media_type=media_type or None,
            etag=_validator(headers.get("etag")),
            last_modified=_validator(headers.get("last-modified")),
            final_url=target.url,
            is_whole=answer.has_end,
        )

    def _body_to(self, answer: Answer) -> Sink | None:
        if answer.status not in _WHOLE_IMAGE:
            return None
        encodings = encodings_in(answer.headers.get("content-encoding", ""))
        length = answer.length
        if length is not None and length > self._limit:
            raise self._too_large(f"{length:,}")
        if length == 0:
            return self._take
        if self._claim_bytes:
            with self._deadline.paused():
                self._claim_bytes(self._limit if length is None or encodings else length)
        return Decoding(encodings, self._take, self._host).write if encodings else self._take

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise self._too_large(f"at least {self._size:,}")
        self._write(piece)

    def _too_large(self, size: str) -> FetchError:
        detail = f"{self._host} sends {size} bytes; the limit is {self._limit:,} bytes."
        return FetchError(ErrorCode.TOO_LARGE, detail)


def _first_target(url: str) -> Target:
    try:
        return Target.of(url)
    except ValueError as error:
        raise FetchError(ErrorCode.INVALID_URL, f"The URL cannot be used: {error}.") from error


def _redirected(target: Target, answer: Answer) -> Target:
    if answer.location is None:
        raise FetchError(ErrorCode.BAD_REDIRECT, f"{target.host} redirects to nowhere.")
    try:
        return target.redirected(answer.location)
    except ValueError as error:
        detail = f"{target.host} redirects to a URL that cannot be used: {error}."
        raise FetchError(ErrorCode.BAD_REDIRECT, detail) from error


def _validator(value: str | None) -> str | None:
    """Return a value that can be stored and sent back as it is."""
    return value if value and len(value) <= LONGEST_VALIDATOR and value.isprintable() else None
