"""Read an answer with a header line that has no colon: browsers skip the line, libcurl refuses the answer.

Such a call is made once more. libcurl only connects (guarded, and over TLS where it is https); the header is
read here without the broken lines, the body by Python's http.client.
"""

from __future__ import annotations

import http.client
import io
import select
from typing import IO, TYPE_CHECKING, Any, cast

import pycurl

if TYPE_CHECKING:
    from imagi_pipeline.core.http.transfer import Call, Transfer

REFUSED_BECAUSE = "Header without colon"

_LONGEST_LINE = 64 * 1024
_PIECE_BYTES = 1 << 16
_FRAMING = (b"content-length", b"transfer-encoding", b"connection")
_PAUSE = 1.0  # seconds; as often the clock is looked at


def call_leniently(curl: pycurl.Curl, call: Call, transfer: Transfer) -> None:
    """Make the call on a connected handle. What comes goes to `transfer`, which raises what ended it."""
    stream = io.BufferedReader(_Connection(curl, transfer))
    _send(curl, _request(call))
    framing = _read_head(stream, transfer)
    if framing is None:
        return
    response = http.client.HTTPResponse(_Answer(framing, stream))  # type: ignore[arg-type]  # as it uses it
    try:
        response.begin()
        while piece := response.read1(_PIECE_BYTES):
            if not transfer.takes_body(piece):
                return
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
    except (http.client.HTTPException, ValueError) as error:
        transfer.ended_by(int(pycurl.E_PARTIAL_FILE), str(error), 0)


def _request(call: Call) -> bytes:
    target = call.target
    lines = [f"GET {target.path} HTTP/1.1", f"Host: {target.authority}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in call.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _send(curl: pycurl.Curl, data: bytes) -> None:
    while data:
        data = data[curl.send(data) :]  # a new connection takes so few bytes without waiting


def _read_head(stream: IO[bytes], transfer: Transfer) -> bytes | None:
    """Return the lines of the final header that say where the body ends; None when the call is over."""
    lines: list[bytes] = []
    while line := stream.readline(_LONGEST_LINE):
        is_status, is_end = line.startswith(b"HTTP/"), not line.strip(b"\r\n")
        if not (is_status or is_end or b":" in line or line[:1] in b" \t"):
            continue
        if not transfer.takes_header(line):
            return None
        if is_status:
            lines = [line]
        elif is_end and lines and lines[0].split()[1:2] and not lines[0].split()[1].startswith(b"1"):
            return b"".join(lines) + b"\r\n"
        elif line.partition(b":")[0].strip().lower() in _FRAMING:
            lines.append(line)
    transfer.ended_by(int(pycurl.E_GOT_NOTHING), "", 0)
    return None


class _Connection(io.RawIOBase):
    """Reads from the connection of a handle, and waits as long as the limits of the transfer allow."""

    def __init__(self, curl: pycurl.Curl, transfer: Transfer) -> None:
        self._curl = curl
        self._transfer = transfer
        self._ready = select.poll()
        self._ready.register(curl.getinfo(pycurl.ACTIVESOCKET), select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._transfer.goes_on():
            try:
                piece = self._curl.recv(len(buffer))
            except BlockingIOError:
                self._ready.poll(1000 * _PAUSE)
                continue
            except pycurl.error as error:
                code, words = cast("tuple[int, str]", error.args)
                self._transfer.ended_by(code, words, 0)
                return 0
            buffer[: len(piece)] = piece
            return len(piece)
        self._transfer.ended_by(int(pycurl.E_OPERATION_TIMEDOUT), "", 0)
        return 0


class _Answer(io.RawIOBase):
    """What http.client takes for a socket: a cleaned header, and the connection behind it."""

    def __init__(self, head: bytes, stream: io.BufferedReader) -> None:
        self._head = io.BytesIO(head)
        self._stream = stream

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Do what `makefile` of a socket does."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._head.read(len(buffer)) or self._stream.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)
