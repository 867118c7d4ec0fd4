"""Run Dagster's web server behind a guard: no other web site, and nobody without a login, controls Dagster.

Dagster's own server does not check who calls: it executes mutations that come by GET, for any web site, and
answers to any name. A page that somebody opens could delete runs and stop the code server by an <img>.

This relies on internals of Dagster (1.13.28); `test_web_server.py` fails when they change:
`dagster_webserver.cli` starts its server by `host_dagster_ui_with_workspace_process_context`, and
`dagster_webserver.app` makes its application by `create_app_from_workspace_process_context`.

Call it like `dagster-webserver`: `python -m imagi_pipeline.service.web_server -w workspace.yaml`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagi_pipeline.gateway.access import is_known_host, is_loopback, is_own_call
from imagi_pipeline.gateway.middleware import SAFE_METHODS
from imagi_pipeline.service.http_server import run_http_server
from imagi_pipeline.service.plain_logs import use_plain_logs
from imagi_pipeline.settings import Settings, variable

GRAPHQL = "/graphql"
MAX_BODY_BYTES = 50_000_000
"""A backfill of 100,000 images names each of them: 7 MB."""
MAX_TOKENS = 5_000
"""Bytes of a query by GET; the largest of Dagster's own pages, which come by POST, has a fifth of that."""

SECURITY_HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class WebServerGuard:
    """Lets through what Dagster's own pages send, programs that are no browsers, and links to its pages."""

    def __init__(self, app: ASGIApp, settings: Settings, host: str) -> None:
        self._app = app
        self._urls = (settings.ui_url, settings.dagster_url)
        is_open = is_loopback(host) or settings.allow_anonymous
        self._logins = [] if is_open else list(_logins(settings))
        self._asks_for_login = not is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request, or one WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal and scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif refusal:
            await refusal(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not is_known_host(host, *self._urls):
            message = f"Set {variable('dagster_ui_url')} if the Dagster UI is to be reached as {host!r}."
            return PlainTextResponse(message, 403)
        if not (is_own_call(headers, *self._urls) or _is_link(scope, headers)):
            return PlainTextResponse("Another web site's page must not call this.", 403)
        if self._asks_for_login and not self._is_logged_in(headers.get("authorization", "")):
            message = f"Log in with the name and the token of an admin in {variable('api_tokens')}."
            return PlainTextResponse(message, 401, {"WWW-Authenticate": 'Basic realm="Dagster"'})
        return _refused_body(headers) or _refused_query(scope)

    def _is_logged_in(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        # Each login is compared, so that the time taken tells nothing of any of them.
        matches = [hmac.compare_digest(given, login) for login in self._logins]
        return scheme.lower() == "basic" and any(matches)


def _logins(settings: Settings) -> Iterator[bytes]:
    """Yield `name:password` of each admin, and of the gateway, which has its own in the URL of Dagster."""
    for token in settings.api_tokens:
        if token.is_admin:
            yield f"{token.name}:{token.secret.get_secret_value()}".encode()
    url = urlsplit(settings.dagster_url)
    if url.username and url.password:
        yield f"{unquote(url.username)}:{unquote(url.password)}".encode()


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Return whether somebody opens a page of Dagster in a tab, perhaps by a link: that changes nothing."""
    return (
        scope.get("method") in SAFE_METHODS
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _refused_body(headers: Headers) -> Response | None:
    """Refuse a large body, because Dagster reads a body of any size into memory."""
    if "transfer-encoding" in headers:
        return PlainTextResponse("Send the Content-Length of the call.", 411)
    if int(headers.get("content-length", 0)) > MAX_BODY_BYTES:  # a number: h11 has checked it
        return PlainTextResponse(f"A call may have {MAX_BODY_BYTES:,} bytes.", 413)
    return None


def _refused_query(scope: Scope) -> Response | None:
    """Return the refusal of a GET that is no query: any <img> of another web site makes browsers send one."""
    if scope.get("method") not in SAFE_METHODS or not scope["path"].endswith(GRAPHQL):
        return None
    texts = parse_qs(scope["query_string"].decode("latin-1")).get("query", [])
    if all(_only_asks(text) for text in texts):
        return None
    return PlainTextResponse("By GET only GraphQL queries are answered.", 405, {"Allow": "POST"})


def _only_asks(text: str) -> bool:
    try:
        operations = parse(text, max_tokens=MAX_TOKENS).definitions
    except (GraphQLError, RecursionError):
        return False
    return not any(
        isinstance(operation, OperationDefinitionNode) and operation.operation is not OperationType.QUERY
        for operation in operations
    )


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers


def main() -> None:
    """Run Dagster's command line with a guarded server in it."""
    from dagster_webserver import app, cli

    def host_guarded(
        context: Any, host: str, port: int, path_prefix: str, _: str, poll_rate: int | None = None
    ) -> None:
        pages = app.create_app_from_workspace_process_context(context, path_prefix, poll_rate)
        run_http_server(WebServerGuard(pages, Settings(), host), host, port)

    cli.host_dagster_ui_with_workspace_process_context = host_guarded  # type: ignore[assignment]
    use_plain_logs()
    cli.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
