"""Follow one call: what was asked, what has come of the answer, and why the call was ended, if it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import pycurl

from imagi_pipeline.core.http import failures
from imagi_pipeline.core.http.deadline import Deadline
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline.core.http.target import Target

LONGEST_HEAD = 256 * 1024
"""Bytes of the status line and the header of an answer, with those of every 1xx before it."""

LONGEST_UNREAD = 16 * 1024
"""So many bytes of a body that nobody wants are read, so that its connection can be used again."""

Sink: TypeAlias = Callable[[bytes], None]


@dataclass(slots=True)
class Answer:
    """The head of an answer. Names in `headers` are in lower case; of several of a name the last one counts,
    but `content-encoding` has all of them. `location` is raw, since hosts send it in any encoding."""

    status: int
    reason: str
    headers: dict[str, str] = field(default_factory=dict)
    location: bytes | None = None

    @property
    def length(self) -> int | None:
        """Return the bytes of the body, where the host declares it."""
        value = self.headers.get("content-length", "")
        declared = value.isascii() and value.isdigit() and "transfer-encoding" not in self.headers
        return int(value[:20]) if declared else None

    @property
    def has_end(self) -> bool:
        """Return whether the end of the body can be told apart from a connection that broke."""
        return self.length is not None or "chunked" in self.headers.get("transfer-encoding", "").lower()


@dataclass(slots=True)
class Call:
    """One HTTP request, and who looks at its answer.

    `body_to` gets the head of an answer, and returns what takes its body piece by piece, or None when nobody
    wants it. The call ends if one of them raises.
    """

    target: Target
    headers: Mapping[str, str]
    deadline: Deadline
    body_to: Callable[[Answer], Sink | None]
    data: bytes | None = None


class Transfer:
    """Takes what libcurl tells of one call while it runs, and gives the result."""

    def __init__(self, call: Call, limits: FetchLimits) -> None:
        self.refused_address: str | None = None
        self.was_allowed = False
        self.is_cut = False
        self.sets_cookies = False
        self.refusal = ""
        self._call = call
        self._limits = limits
        self._answer: Answer | None = None
        self._is_whole_head = False
        self._head_bytes = 0
        self._unread = 0
        self._sink: Sink | None = None
        self._failure: BaseException | None = None
        self._heard_at = 0.0  # until there is a connection

    def takes_header(self, line: bytes) -> bool:
        """Take one line of a header, 1xx and trailers included."""
        self._heard()
        self._head_bytes += len(line)
        if self._head_bytes > LONGEST_HEAD:
            return self._end(failures.too_long_head(self._host))
        if line.startswith(b"HTTP/") and not (self._answer and not self._is_whole_head):
            self._answer, self._is_whole_head = _answer_of(line), False
        elif line.strip(b"\r\n"):
            self._takes_field(line)
        elif self._answer and self._answer.status >= 200 and not self._is_whole_head:
            return self._takes_whole_head(self._answer)
        else:
            self._is_whole_head = True  # of a 1xx, or the end of a trailer
        return True

    def takes_body(self, piece: bytes) -> bool:
        """Take a piece of the body."""
        self._heard()
        if self._sink is None:
            self._unread += len(piece)
            return self._unread <= LONGEST_UNREAD
        try:
            self._sink(piece)
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            return self._end(error)
        self._heard()
        return True

    def is_connected(self) -> None:
        """Note that the request is about to be sent: from now on the host must not be silent for long."""
        self._heard()

    def goes_on(self) -> bool:
        """Return whether the call still has time; libcurl ends it if not."""
        if self._call.deadline.left() <= 0:
            self.is_cut = True
            return False
        if self._heard_at and time.monotonic() - self._heard_at > self._limits.read_timeout:
            return self._end(failures.silence(self._host))
        return True

    def ended_by(self, code: int, words: str, errno: int) -> None:
        """Note what libcurl says; that is no failure if the answer is what was wanted nevertheless."""
        self.refusal = self.refusal or words or f"error {code}"
        if self._failure:
            return
        if self.is_cut or self._call.deadline.left() <= 0:
            self._failure = self._call.deadline.missed(self._host)
        elif self.refused_address and not self.was_allowed:
            self._failure = failures.blocked(self._host, self.refused_address)
        elif not self._has_enough(code, words):
            self._failure = failures.of_libcurl(code, words, errno, self._host)

    def result(self) -> Answer:
        """Return the head of the answer, once its body was taken; raises what ended the call."""
        if self._failure:
            raise self._failure
        if self._answer is None or not self._is_whole_head:
            raise failures.of_libcurl(pycurl.E_GOT_NOTHING, "", 0, self._host)
        return self._answer

    @property
    def _host(self) -> str:
        return self._call.target.host

    def _heard(self) -> None:
        self._heard_at = time.monotonic()

    def _end(self, failure: BaseException) -> bool:
        self._failure = failure
        return False

    def _takes_field(self, line: bytes) -> None:
        if self._answer is None or self._is_whole_head:
            return  # of a trailer
        name, colon, value = line.partition(b":")
        if not colon:
            return
        key, value = name.strip().lower().decode("latin-1"), value.strip()
        text = value.decode("latin-1")
        headers = self._answer.headers
        if key == "location":
            self._answer.location = value
        elif key == "set-cookie":
            self.sets_cookies = True
        headers[key] = f"{headers[key]}, {text}" if key == "content-encoding" and key in headers else text

    def _takes_whole_head(self, answer: Answer) -> bool:
        self._is_whole_head = True
        try:
            self._sink = self._call.body_to(answer)
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            return self._end(error)
        return True

    def _has_enough(self, code: int, words: str) -> bool:
        if self._answer is None or not self._is_whole_head or self._answer.status < 200:
            return False
        if self._sink is None:
            return True
        # Many hosts end TLS without saying so. If nothing else tells the end, browsers take the body.
        hung_up = code == pycurl.E_RECV_ERROR and "unexpected eof" in words
        return hung_up and not self._answer.has_end


def _answer_of(status_line: bytes) -> Answer:
    _, _, rest = status_line.strip().partition(b" ")
    status, _, reason = rest.strip().partition(b" ")
    return Answer(int(status) if status.isdigit() else 0, reason.decode("latin-1"))
