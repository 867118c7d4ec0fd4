"""Do what every answer needs: safe headers, no calls from other web sites, paths with and without slash."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagi_pipeline.gateway.access import check_host, is_own_call
from imagi_pipeline.gateway.documents import API
from imagi_pipeline.gateway.problems import ApiError, answer
from imagi_pipeline.settings import Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Refuses what a foreign web site makes a browser send, and adds the security headers."""

    def __init__(self, app: ASGIApp, settings: Settings, images_from: Iterable[str]) -> None:
        self._app = app
        self._settings = settings
        self._headers = security_headers(images_from)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        # As GET: the server itself sends no body for HEAD, and goes by its own scope.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        if scope["path"].startswith(f"{API}/") and not scope["path"].endswith("/"):
            inner["path"] += "/"
        try:
            self._check(Headers(scope=scope), scope["method"])
        except ApiError as error:
            await answer(error)(scope, receive, with_headers)
        else:
            await self._app(inner, receive, with_headers)
            scope["route"] = inner.get("route")

    def _check(self, headers: Headers, method: str) -> None:
        check_host(headers.get("host", ""), self._settings)
        if method not in SAFE_METHODS and not is_own_call(headers, self._settings.gateway_url):
            raise ApiError(403, "cross_site", "Another web site's page must not call this.")


def security_headers(images_from: Iterable[str]) -> dict[str, str]:
    """Return the headers of every answer; the page may show images from the sites of these URLs, no more."""
    images = " ".join(f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, images_from))
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src 'self' blob: data: {images}; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
