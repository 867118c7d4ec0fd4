"""Take a URL apart so that its path is sent exactly as it is written.

A signed URL is no longer valid once `%7E` became `~` or `%2f` became `%2F`. So only what no request line can
hold is rewritten here; a redirect is read as browsers read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urljoin, urlsplit

from imagi_pipeline.core.authority import DEFAULT_PORTS, normal_authority
from imagi_pipeline.core.errors import UrlError
from imagi_pipeline.core.printable import printable

_LONGEST = 8192
"""Bytes of a URL that a redirect may lead to; those of a CSV are shorter."""

_NOT_IN_A_REQUEST_LINE = re.compile(r"[^\x21\x23-\x3b\x3d\x3f-\x5f\x61-\x7e]+")
_DROPPED = re.compile(rb"[\t\r\n]")
_AROUND = bytes(range(0x21))
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Target:
    """An http or https URL: its host and port, and the path with the query as the request line has it."""

    scheme: str
    authority: str
    path: str

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the target of a URL; ValueError with the reason when it can be none."""
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError(f"its scheme is {printable(parts.scheme)!r}, not http or https")
        if "@" in parts.netloc:
            raise ValueError("it carries a user name or password")
        if not parts.netloc:
            raise ValueError("it names no host")
        if len(url) > _LONGEST:
            raise ValueError(f"it is longer than {_LONGEST:,} characters")
        try:
            authority = normal_authority(unquote(parts.netloc), DEFAULT_PORTS[parts.scheme])
        except UrlError as error:
            raise ValueError(error.detail[:1].lower() + error.detail[1:].rstrip(".")) from error
        path = parts.path or "/"
        if parts.query or "?" in url.partition("#")[0]:
            path += "?" + parts.query
        return cls(parts.scheme, authority, _NOT_IN_A_REQUEST_LINE.sub(_percent_encoded, path))

    @property
    def url(self) -> str:
        """Return the whole URL, without a fragment."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return f"{self.scheme}://{self.authority}"

    @property
    def host(self) -> str:
        """Return the host, as messages name it."""
        return urlsplit(self.url).hostname or self.authority

    def redirected(self, location: bytes) -> Target:
        """Return where a `Location` header leads from here; ValueError says why it leads nowhere.

        Bytes beyond ASCII are percent-encoded as they are, be they UTF-8 or Latin-1. Tabs and line ends are
        dropped, and a backslash before the query is a slash.
        """
        raw = _DROPPED.sub(b"", location.strip(_AROUND))
        if not raw:
            raise ValueError("it is empty")
        text = _BEYOND_ASCII.sub(lambda match: b"%%%02X" % match[0][0], raw).decode("ascii")
        before, mark, query = text.partition("?")
        return Target.of(urljoin(self.url, before.replace("\\", "/") + mark + query))


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
