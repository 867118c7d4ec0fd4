"""The guarded client makes one call to a host that other people name, by libcurl.

fetching.py and delivery.py decide what a call asks for and what its answer means. Here is what holds for
both: only allowed addresses are dialled, no proxy or password of the environment is used, the deadline
and the limits are kept, and a redirect is an answer like any other.

We use libcurl because of what hosts send: more than a hundred header lines, `103 Early Hints`, lines folded
or ended by a bare LF; it sends a path as it is written, and lets us judge the very address that it dials.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import certifi
import pycurl

from imagi_pipeline.core.http.address_guard import may_dial
from imagi_pipeline.core.http.lenient import REFUSED_BECAUSE, call_leniently
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline.core.http.transfer import Answer, Call, Transfer

_PIECE_BYTES = 512 * 1024  # libcurl's largest buffer, so that a body takes the fewest calls
_CONNECTIONS_KEPT = 4  # connections that each handle keeps: more would cost file descriptors
_HASHED_CERTIFICATE = re.compile(r"[0-9a-f]{8}\.\d+")


class GuardedClient:
    """Makes calls, many threads at a time, on connections that are kept alive."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._idle: list[Handle] = []
        self._is_closed = False

    def close(self) -> None:
        """End every running call within about a second, and close all connections."""
        self._is_closed = True
        with self._lock:
            for handle in self._idle:
                handle.close()
            self._idle.clear()

    @contextmanager
    def chain(self) -> Iterator[Handle]:
        """Give a handle for calls that belong together, such as redirects: they share cookies."""
        handle = self._take()
        try:
            yield handle
        finally:
            handle.forget_cookies()
            self._give_back(handle)

    def _take(self) -> Handle:
        with self._lock:
            if self._idle:  # the handle used last has the connections that are most likely still open
                return self._idle.pop()
        return Handle(self._limits, lambda: self._is_closed)

    def _give_back(self, handle: Handle) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(handle)
                return
        handle.close()


class Handle:
    """A handle of libcurl with its own connections, used by one thread at a time."""

    def __init__(self, limits: FetchLimits, is_closed: Callable[[], bool]) -> None:
        self._limits = limits
        self._is_closed = is_closed
        self._transfer: Transfer | None = None
        self._opened: list[socket.socket] = []
        self._trusts = False
        self._has_cookies = False
        self._curl = curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.PROXY, "")  # libcurl would take one from the environment
        curl.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.HTTP09_ALLOWED, 0)
        curl.setopt(pycurl.PATH_AS_IS, 1)
        curl.setopt(pycurl.COOKIEFILE, "")
        curl.setopt(pycurl.MAXCONNECTS, _CONNECTIONS_KEPT)
        curl.setopt(pycurl.BUFFERSIZE, _PIECE_BYTES)
        curl.setopt(pycurl.NOPROGRESS, 0)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, self._connected)
        curl.setopt(pycurl.HEADERFUNCTION, self._header)
        curl.setopt(pycurl.WRITEFUNCTION, self._body)
        curl.setopt(pycurl.XFERINFOFUNCTION, self._progress)

    def close(self) -> None:
        """Close its connections."""
        self._curl.close()

    def forget_cookies(self) -> None:
        """Forget what the hosts of this chain have set."""
        if self._has_cookies:
            self._curl.setopt(pycurl.COOKIELIST, "ALL")
            self._has_cookies = False

    def call(self, call: Call) -> Answer:
        """Make one call. Raises FetchError, and what the receiver of the answer raises."""
        transfer = self._perform(call)
        if call.data is None and REFUSED_BECAUSE in transfer.refusal:
            connection = Handle(self._limits, self._is_closed)
            try:
                transfer = connection.call_leniently(call)
            finally:
                connection.close()
        return transfer.result()

    def call_leniently(self, call: Call) -> Transfer:
        """Make a call whose answer libcurl refuses, on a connection of its own."""
        self._curl.setopt(pycurl.CONNECT_ONLY, 1)
        transfer = self._perform(call)
        if not transfer.refusal:
            call_leniently(self._curl, call, transfer)
        return transfer

    def _perform(self, call: Call) -> Transfer:
        self._transfer = transfer = Transfer(call, self._limits)
        self._prepare(call)
        try:
            self._curl.perform()
        except pycurl.error as error:
            code, words = cast("tuple[int, str]", error.args)
            transfer.ended_by(code, words, self._curl.getinfo(pycurl.OS_ERRNO))
        finally:
            self._has_cookies |= transfer.sets_cookies
            while self._opened:
                self._opened.pop().close()
            self._transfer = None
        return transfer

    def _prepare(self, call: Call) -> None:
        curl, target = self._curl, call.target
        left = call.deadline.left()
        if left <= 0 or self._is_closed():
            raise call.deadline.missed(target.host)
        if target.scheme == "https" and not self._trusts:
            curl.unsetopt(pycurl.CAINFO)
            for option, value in _trusted_authorities().items():
                curl.setopt(option, value)
            self._trusts = True
        curl.setopt(pycurl.URL, target.url)
        curl.setopt(pycurl.REQUEST_TARGET, target.path)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(1000 * min(self._limits.connect_timeout, left))))
        curl.setopt(pycurl.HTTPHEADER, [f"{k}: {v}".encode("latin-1") for k, v in call.headers.items()])
        if call.data is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POST, 1)
            curl.setopt(pycurl.POSTFIELDS, call.data)

    # libcurl calls these; an exception in one of them would only be printed

    def _open_socket(self, _purpose: int, address: Any) -> socket.socket | int:
        assert self._transfer
        ip = str(address.addr[0])
        if not may_dial(ip, self._limits.allowed_networks):
            self._transfer.refused_address = ip
            return int(pycurl.SOCKET_BAD)
        self._transfer.was_allowed = True
        opened = socket.socket(address.family, address.socktype, address.protocol)
        self._opened.append(opened)  # libcurl takes a duplicate
        return opened

    def _connected(self, *_: object) -> int:
        assert self._transfer
        self._transfer.is_connected()
        return int(pycurl.PREREQFUNC_OK)

    def _header(self, line: bytes) -> int:
        assert self._transfer
        return len(line) if self._transfer.takes_header(line) else -1

    def _body(self, piece: bytes) -> int:
        assert self._transfer
        return len(piece) if self._transfer.takes_body(piece) else -1

    def _progress(self, *_: int) -> int:
        """End the transfer by returning 1; libcurl calls this on each event, at least once a second."""
        assert self._transfer
        if self._is_closed():
            self._transfer.is_cut = True
            return 1
        return 0 if self._transfer.goes_on() else 1


def _trusted_authorities() -> Mapping[int, str]:
    """Return the certificates to trust: those of this system, or certifi's where it has none.

    A folder with hashed names is preferred: of a file, OpenSSL parses everything for each handle.
    """
    paths = ssl.get_default_verify_paths()
    file, folder = os.environ.get(paths.openssl_cafile_env), os.environ.get(paths.openssl_capath_env)
    if not file and not folder:
        folder = paths.capath if paths.capath and _is_hashed(Path(paths.capath)) else None
        file = None if folder else paths.cafile or certifi.where()
    chosen = {pycurl.CAINFO: file, pycurl.CAPATH: folder}
    return {option: value for option, value in chosen.items() if value}


def _is_hashed(folder: Path) -> bool:
    return any(_HASHED_CERTIFICATE.fullmatch(path.name) for path in folder.iterdir())
