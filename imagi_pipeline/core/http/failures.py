"""Turn what went wrong with a call into a failure for the readers of the report."""

from __future__ import annotations

import errno as errnos
import os

import pycurl

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.retry_after import seconds_to_wait
from imagi_pipeline.core.printable import printable

_WEIRD_REPLY = 8  # CURLE_WEIRD_SERVER_REPLY and
_TOO_LARGE = 100  # CURLE_TOO_LARGE, for which pycurl has no name
_NO_HTTP = frozenset({_WEIRD_REPLY, pycurl.E_UNSUPPORTED_PROTOCOL})
_TLS = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_ISSUER_ERROR,
        pycurl.E_SSL_INVALIDCERTSTATUS,
    }
)
_HUNG_UP = ("unexpected eof", "SSL_ERROR_SYSCALL", "Connection reset", "SSL_ERROR_ZERO_RETURN")
_NO_CONTENT = frozenset({204, 205})


def of_libcurl(code: int, words: str, errno: int, host: str) -> FetchError:
    """Return the failure behind an error of libcurl: its number and words, and the system's errno or 0."""
    said = printable(words) or f"error {code}"
    if code == pycurl.E_COULDNT_RESOLVE_HOST:
        return FetchError(ErrorCode.DNS_FAILURE, f"{host} has no address: {said}.")
    if code == pycurl.E_URL_MALFORMAT:
        return FetchError(ErrorCode.INVALID_URL, f"The URL cannot be used: {said}.")
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return FetchError(ErrorCode.TIMEOUT, f"{host} did not accept a connection in time.")
    if code == pycurl.E_COULDNT_CONNECT:
        return _not_connected(errno, said, host)
    if code in _TLS and not any(sign in words for sign in _HUNG_UP):
        return FetchError(ErrorCode.TLS_ERROR, f"No safe connection to {host}: {said}.")
    return FetchError(ErrorCode.CONNECTION_ERROR, _broken(code, said, host))


def blocked(host: str, address: str) -> FetchError:
    """Return the failure of an address that must not be dialled."""
    where = "is" if host == address else f"is at {address},"
    return FetchError(ErrorCode.BLOCKED_ADDRESS, f"{host} {where} no public address.")


def silence(host: str) -> FetchError:
    """Return the failure of a host that sent nothing for longer than the read timeout."""
    return FetchError(ErrorCode.TIMEOUT, f"{host} sent nothing for too long.")


def too_long_head(host: str) -> FetchError:
    """Return the failure of a header, or of 1xx answers, that do not end."""
    return FetchError(ErrorCode.CONNECTION_ERROR, f"{host} sends a header without end.")


def of_status(status: int, reason: str, retry_after: str | None, host: str) -> FetchError:
    """Return the failure of an answer whose status is not that of a whole image."""
    words = f"{host} answered {status} {printable(reason)}".rstrip()
    return FetchError(_code_of_status(status), f"{words}.", seconds_to_wait(retry_after))


def _not_connected(errno: int, said: str, host: str) -> FetchError:
    if errno == errnos.ECONNREFUSED:
        return FetchError(ErrorCode.CONNECTION_REFUSED, f"{host} refused the connection.")
    if errno == errnos.ETIMEDOUT:
        return FetchError(ErrorCode.TIMEOUT, f"{host} did not accept a connection in time.")
    why = os.strerror(errno) if errno else said
    return FetchError(ErrorCode.CONNECTION_ERROR, f"{host} cannot be reached: {why}.")


def _broken(code: int, said: str, host: str) -> str:
    if code in _NO_HTTP:
        return f"{host} sent an answer that is no HTTP: {said}."
    if code == _TOO_LARGE:
        return f"{host} sends a header without end."
    if code == pycurl.E_PARTIAL_FILE:
        return f"{host} sent less than it announced; the connection ended too early."
    if code == pycurl.E_GOT_NOTHING:
        return f"{host} closed the connection without an answer."
    return f"The connection to {host} broke: {said}."


def _code_of_status(status: int) -> ErrorCode:
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
