"""Turn the authority of a URL, `host` or `host:port`, from how people write it into how it is dialled."""

from __future__ import annotations

import ipaddress
import re

import idna

from imagi_pipeline.core.errors import ErrorCode, UrlError

DEFAULT_PORTS = {"http": 80, "https": 443}

_LONGEST_HOST = 253
_HOST_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*\.?")


def normal_authority(text: str, default_port: int) -> str:
    """Return host and port as they are dialled: lower case, IDNA, without a default port. Raises UrlError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    host = _host(host)
    if not port:
        return host
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise UrlError(ErrorCode.INVALID_URL, f"{port[:20]!r} is no port.")
    return host if int(port) == default_port else f"{host}:{int(port)}"


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return f"[{_ipv6_address(text[1:-1])}]"
    if len(text) > _LONGEST_HOST:
        raise UrlError(ErrorCode.INVALID_URL, "The host name is too long.")
    host = text.lower() if text.isascii() else _idna(text)
    if not _HOST_NAME.fullmatch(host):
        raise UrlError(ErrorCode.INVALID_URL, f"{text!r} is no host name.")
    return host


def _ipv6_address(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError as error:
        raise UrlError(ErrorCode.INVALID_URL, f"{text[:100]!r} is no IPv6 address.") from error


def _idna(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except idna.IDNAError as error:
        raise UrlError(ErrorCode.INVALID_URL, f"{host!r} is no host name.") from error
