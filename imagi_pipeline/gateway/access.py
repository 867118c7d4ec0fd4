"""Decide who may use the API, and from where."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from imagi_pipeline.gateway.problems import ApiError
from imagi_pipeline.settings import ApiToken, Settings, variable


@dataclass(frozen=True)
class Caller:
    """Somebody who calls: with a token they have a name, without tokens they have none."""

    name: str | None = None
    sees_all: bool = True

    def may_see(self, owner: str | None) -> bool:
        """Return whether this caller may see and change a request of `owner`."""
        return self.sees_all or owner == self.name


class UnsafeAddressError(OSError):
    """The gateway would be open to everybody who can reach this machine."""


def authenticate(authorization: str | None, tokens: Sequence[ApiToken]) -> Caller:
    """Return the caller behind an Authorization header; without `tokens`, anybody. Raises ApiError 401."""
    if not tokens:
        return Caller()
    scheme, _, given = (authorization or "").partition(" ")
    digest = hashlib.sha256(given.strip().encode()).digest()
    # Compare digests of equal length, and all of them, so that the time taken tells nothing of any token.
    matching = [
        token
        for token in tokens
        if hmac.compare_digest(hashlib.sha256(token.secret.get_secret_value().encode()).digest(), digest)
    ]
    if scheme.lower() != "bearer" or not matching:
        raise ApiError(
            401,
            "unauthorized",
            "Send the header 'Authorization: Bearer <token>' with a token of this service.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return Caller(matching[0].name, matching[0].is_admin)


def check_address(host: str, settings: Settings) -> None:
    """Raise UnsafeAddressError when `host` is more than loopback and nobody needs a token."""
    if is_loopback(host) or settings.api_tokens or settings.allow_anonymous:
        return
    raise UnsafeAddressError(
        f"On {host} everybody who reaches this machine could use the gateway. Set {variable('api_tokens')}, "
        f"or {variable('allow_anonymous')}=true if that is wanted."
    )


def check_ui_address(host: str, settings: Settings) -> None:
    """Raise UnsafeAddressError when `host` is more than loopback and nobody could log in to the UI."""
    has_admin = any(token.is_admin for token in settings.api_tokens)
    if is_loopback(host) or has_admin or settings.allow_anonymous:
        return
    raise UnsafeAddressError(
        f"On {host} everybody who reaches this machine could run and delete everything in the Dagster UI. "
        f"Set {variable('api_tokens')} with an admin (name:token:admin), who then logs in with name and "
        f"token, or {variable('allow_anonymous')}=true if that is wanted."
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_host(host: str, settings: Settings) -> None:
    """Refuse a foreign Host header where no token protects: ApiError 403."""
    if settings.api_tokens or settings.allow_anonymous or is_known_host(host, settings.gateway_url):
        return
    message = f"Set {variable('gateway_url')} if this gateway is to be reached as {host!r}."
    raise ApiError(403, "unknown_host", message)


def is_known_host(host: str, *urls: str) -> bool:
    """Return whether a Host header names this machine: as localhost, by an address, or as one of `urls` does.

    A web site could let its own name lead to this machine (DNS rebinding), and its scripts would then be of
    the same origin. An address cannot be changed in this way, so all addresses are known.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:  # a bracket that nothing closes
        return False
    return name in {"localhost", *(urlsplit(url).hostname for url in urls)} or _is_address(name)


def is_own_call(headers: Headers, *urls: str) -> bool:
    """Return whether no other web site is behind a call; `urls` are the names under which this server is
    reached.

    Browsers say who is behind a call, and programs that are no browsers do not. To an address without TLS
    browsers send no Sec-Fetch-Site, but an Origin with all that could change something.
    """
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin, host = headers.get("origin"), headers.get("host")
    return origin is None or origin in (f"http://{host}", f"https://{host}", *urls)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
