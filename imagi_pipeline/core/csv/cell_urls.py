"""Image URLs in the text of one cell: where each begins and ends, and how it is written when requested.

Nothing here knows of tables, rows or columns; that is csv_table.py.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from enum import Enum, auto
from itertools import pairwise
from urllib.parse import quote, urljoin

import idna

from imagi_pipeline.core.errors import ErrorCode, UrlError

MAX_URL_BYTES = 2048

_MAX_HOST_LENGTH = 253
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Unicode white space and the zero-width characters that come along when a URL is copied from a web page.
_BLANKS = (
    " \t\r\n\v\f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\u200b\u2060\ufeff"
)
_PADDING = _BLANKS + ",;|\"'`<>"
_OPENING_OF = {")": "(", "]": "[", "}": "{"}

_EXTENSION = r"\.(?:apng|avif|bmp|gif|heic|heif|ico|j2k|jfif|jp2|jpe|jpeg|jpg|jxl|png|svg|tga|tif|tiff|webp)"
_HOST = r"(?:(?:[a-z][a-z0-9+.-]*:)?//[^/?#]*)?+"
_IMAGE_IN_PATH = re.compile(rf"{_HOST}[^?#]*?{_EXTENSION}(?![a-z0-9])", re.IGNORECASE)
_ENDS_AS_IMAGE = re.compile(rf"{_HOST}[^?#]*{_EXTENSION}[\"'`)\]}}>]*", re.IGNORECASE)
_PAGE = re.compile(
    r"https?://[^/?#]+/?|https?://[^/?#]+/[^?#]*\.(?:html?|php|aspx?|jsp)(?:[?#].*)?", re.IGNORECASE
)

# A URL that is already what it would be normalised to. A plain one holds no separator either.
_ORIGIN = r"https?://(?=[^/]{1,63}/)(?:[a-z0-9]++(?:-+[a-z0-9]++)*+[.])+[a-z0-9]++(?:-+[a-z0-9]++)*+/"
_PLAIN = r"[A-Za-z0-9._~!$&'()*+:@/?=\[\]-]*+"
_CLEAN = r"[A-Za-z0-9._~!$&'()*+,:@/?=\[\]-]*+"
_PLAIN_URL = re.compile(rf"{_ORIGIN}{_PLAIN}(?:%[0-9A-Fa-f]{{2}}{_PLAIN})*+")
_CLEAN_URL = re.compile(rf"{_ORIGIN}{_CLEAN}(?:%[0-9A-Fa-f]{{2}}{_CLEAN})*+")
_SEPARATORS = re.compile(r"[\s,;|]+")
_SEPARATORS_KEPT = re.compile(r"([\s,;|]+)")
_BETWEEN_URLS = re.compile(r"[\s,;|]+(?=https?://)")
_IMAGE_URL_WITH_COMMAS = re.compile(
    rf"https?://(?:(?!{_EXTENSION},)[^\s;|\"'`<>()\[\]{{}}?#])+{_EXTENSION}", re.IGNORECASE
)
_LIST_SEPARATORS = re.compile(r"[,;|\t\r\n]+")
_LINE_END = re.compile(r"[\r\n]")

# Behind "(" only where something stands before it: .../filters:watermark(https://...)/a.jpg is one URL.
_URL_START = re.compile(
    r"(?:(?<![^\s,;|\"'`<>\[\]{}\u200b\u2060\ufeff])|(?<=^\()|(?<=[\s\]]\())"
    r"(?:(?:[a-z][a-z0-9+.-]*:)?//(?!\s|$)|data:[\w.+/-]*(?:;[\w=.+-]+)*,[^\s,;|\"'<>]*)",
    re.IGNORECASE,
)
_ATTACHMENT = re.compile(r"\((https?://\S{1,2048}?)\)(?=\s*(?:,|$))", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"n/?a|n\.a\.?|#n/a|[-–—]+|none|null|nil|nan|undefined|\(none\)|\(null\)", re.IGNORECASE
)
_BASE64 = re.compile(
    r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/=\s]{12,}|[A-Za-z0-9+/]{64}[A-Za-z0-9+/\s]{64,}={0,2}\s*"
)

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"[a-z0-9.-]+:\d+(?:/|$)", re.IGNORECASE)
_LOCAL_PATH = re.compile(r"[a-z]:[\\/]|\\\\", re.IGNORECASE)
_URL_PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?", re.IGNORECASE)
_HOST_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*\.?")
_ESCAPED_AMPERSAND = re.compile(r"&(?:(?:amp|#0*38|#x0*26);)+|&(?=amp;)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_TO_ENCODE = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/?\[\]%-]+")


class CellKind(Enum):
    """What a cell as a whole looks like; the evidence from which URL columns are found."""

    IMAGE_URL = auto()
    OTHER_URL = auto()
    PAGE_URL = auto()
    UNUSABLE = auto()  # meant as an image, but no http(s) URL: a relative path, data:, file://
    TEXT = auto()


def is_plain_url(text: str) -> bool:
    """Whether the text is one URL that `normalise` would not change: the quick way out for most cells."""
    return _PLAIN_URL.fullmatch(text) is not None and len(text) <= MAX_URL_BYTES


def is_placeholder(text: str) -> bool:
    """Whether the text says that there is no image: blank, `N/A`, `-`, `none`, `null`."""
    bare = text.strip(_BLANKS)
    return not bare or _PLACEHOLDER.fullmatch(bare) is not None


def holds_url(text: str) -> bool:
    """Whether a URL with a host, or a `data:` URL, begins anywhere in the text."""
    return _URL_START.search(text) is not None


def has_image_extension(url: str) -> bool:
    """Whether the path of a URL, or a relative path, names an image file."""
    return _IMAGE_IN_PATH.match(url) is not None


def is_url_without_end(text: str) -> bool:
    """Whether the text is the beginning of a URL whose path does not yet end in an image extension."""
    return _URL_START.match(text) is not None and _ENDS_AS_IMAGE.fullmatch(text) is None


def classify(cell: str) -> CellKind:
    """What kind of value the cell holds, judged by its first item; prose with a URL in it is text."""
    items = find_items(cell)
    if not items or _is_prose(cell):
        return CellKind.TEXT
    first = items[0]
    if first.lower().startswith(("http://", "https://", "//")):
        if has_image_extension(first):
            return CellKind.IMAGE_URL
        return CellKind.PAGE_URL if _PAGE.fullmatch(first) else CellKind.OTHER_URL
    if _URL_START.match(first) or _BASE64.fullmatch(first) or _LOCAL_PATH.match(first):
        return CellKind.UNUSABLE
    return CellKind.UNUSABLE if _is_image_path(first) else CellKind.TEXT


def find_items(cell: str) -> list[str]:
    """What the cell lists, in order and as written: URLs, and whatever stands in the place of one.

    Understood are lists separated by comma, semicolon, `|`, white space or newlines, JSON arrays of
    strings or of objects with `url` or `src`, and `name (url)` pairs. Blank and placeholder items are
    left out. A separator inside a URL does not end it: a URL that has not reached an image extension
    goes on until the next URL.
    """
    text = cell.strip(_BLANKS)
    pieces = _SEPARATORS.split(text)
    if all(map(_PLAIN_URL.fullmatch, pieces)):
        return pieces
    if is_placeholder(text):
        return []
    if _BASE64.fullmatch(text):
        return [text]
    pieces = _BETWEEN_URLS.split(text)
    if all(map(_IMAGE_URL_WITH_COMMAS.fullmatch, pieces)):
        return pieces
    found = _json_items(text) if text[0] in "[{" else None
    if found is None:
        found = _attachments(text) or _listed_items(text)
    return [item for item in found if not is_placeholder(item)]


def normalise(item: str, folder: str | None = None) -> str:
    """The URL to request for an item of a cell.

    Scheme and host are lower case, the host is in IDNA form, characters that a URL cannot hold are
    percent-encoded, `&amp;` is `&`, fragment and default port are gone. What is already encoded and
    the order of the query stay as they are. `folder` is the URL of the folder that relative paths
    are joined to.

    Raises UrlError (relative_url, unsupported_scheme, data_uri, bare_base64, credentials_in_url,
    url_too_long, invalid_url) when the item is no http or https URL.
    """
    if _CLEAN_URL.fullmatch(item) and len(item) <= MAX_URL_BYTES:
        return item
    text = _ESCAPED_AMPERSAND.sub("&", item.strip(_BLANKS).replace("\\/", "/"))
    _refuse_embedded_image(text)
    url = _normalised(_absolute(text, folder))
    if len(url) > MAX_URL_BYTES:
        raise UrlError(ErrorCode.URL_TOO_LONG, f"The URL has {len(url):,} bytes.")
    return url


def _is_prose(cell: str) -> bool:
    text = cell.lstrip(_PADDING + "([{")
    if cell.lstrip().startswith(("<", "[", "{")):
        return re.match(r"\s*<(?!https?:|//)", cell) is not None
    start = _URL_START.search(text)
    return start is not None and start.start() > 0 and not _attachments(cell)


def _is_image_path(text: str) -> bool:
    return _ENDS_AS_IMAGE.fullmatch(text) is not None or (
        text.startswith(("/", "./", "../")) and _SEPARATORS.search(text) is None
    )


def _json_items(text: str) -> list[str] | None:
    try:
        return list(_json_strings(json.loads(text)))
    except (ValueError, RecursionError):
        return None


def _json_strings(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for element in value:
            yield from _json_strings(element)
    elif isinstance(value, dict) and isinstance(url := value.get("url", value.get("src")), str):
        yield url.strip(_BLANKS)
    elif isinstance(value, str):
        yield value.strip(_BLANKS)
    elif value:
        yield json.dumps(value, ensure_ascii=False)


def _attachments(text: str) -> list[str]:
    """The URLs of `name (url), name (url)`, as Airtable exports attachments."""
    if not text.endswith(")") or _URL_START.match(text):
        return []
    urls = _ATTACHMENT.findall(text)
    return urls if not holds_url(_ATTACHMENT.sub("", text)) else []


def _listed_items(text: str) -> list[str]:
    starts = [match.start() for match in _URL_START.finditer(text)]
    if not starts:
        return _items_without_host(text)
    items = _items_before_first_url(text[: starts[0]])
    for start, end in pairwise([*starts, len(text)]):
        items += _items_from_url(text[start:end])
    return items


def _items_before_first_url(text: str) -> list[str]:
    is_list = text.rstrip(" \"'`<([{").endswith((",", ";", "|", "\t", "\n", "\r"))
    return [item for item in _items_without_host(text) if is_list or _is_image_path(item)]


def _items_from_url(chunk: str) -> list[str]:
    """The URL at the start of the chunk, then what stands between it and the next URL."""
    if chunk[:5].lower() == "data:":
        return [_unwrapped(chunk)]
    line_end = _LINE_END.search(chunk)
    line, rest = (chunk[: line_end.start()], chunk[line_end.end() :]) if line_end else (chunk, "")
    length = _url_length(line)
    return [_unwrapped(line[:length]), *_items_without_host(line[length:]), *_items_without_host(rest)]


def _url_length(line: str) -> int:
    first, *others = _SEPARATORS_KEPT.split(line.rstrip(_PADDING))
    length = len(first)
    for separator, piece in zip(others[::2], others[1::2], strict=True):
        if length > MAX_URL_BYTES:
            return len(line)
        if _ends_before(line[:length], piece):
            break
        length += len(separator) + len(piece)
    return length


def _ends_before(url: str, piece: str) -> bool:
    if is_placeholder(piece.strip(_PADDING)):
        return True
    if _ENDS_AS_IMAGE.fullmatch(url):
        return True
    return "?" in url and _is_image_file(url) and _ENDS_AS_IMAGE.fullmatch(piece) is not None


def _is_image_file(url: str) -> bool:
    return _ENDS_AS_IMAGE.fullmatch(url.partition("?")[0]) is not None


def _items_without_host(text: str) -> list[str]:
    items: list[str] = []
    if not text.strip(_PADDING):
        return items
    for part in _LIST_SEPARATORS.split(text):
        words = part.split()
        all_images = len(words) > 1 and all(map(_ENDS_AS_IMAGE.fullmatch, words))
        items += map(_unwrapped, words if all_images else [part])
    return [item for item in items if item]


def _unwrapped(item: str) -> str:
    """The item without the quotes, separators and unbalanced brackets around it."""
    item = item.strip(_PADDING).lstrip(_PADDING + "([{")
    if len(item) > MAX_URL_BYTES:  # too long to be used in any case
        return item
    while item and (opening := _OPENING_OF.get(item[-1])):
        if item.count(item[-1]) <= item.count(opening):
            break
        item = item[:-1].rstrip(_PADDING)
    return item


def _refuse_embedded_image(text: str) -> None:
    if text[:5].lower() == "data:":
        raise UrlError(ErrorCode.DATA_URI, "The cell holds an image itself, as a data: URL.")
    if _BASE64.fullmatch(text):
        raise UrlError(ErrorCode.BARE_BASE64, "The cell holds an image itself, in base64.")


def _absolute(text: str, folder: str | None) -> str:
    if _CONTROL.search(text):
        raise UrlError(ErrorCode.INVALID_URL, "It holds a control character.")
    if text.startswith("//"):
        return ("http:" if folder and folder.startswith("http:") else "https:") + text
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() in _DEFAULT_PORTS:
        return text
    if _LOCAL_PATH.match(text):
        raise UrlError(ErrorCode.UNSUPPORTED_SCHEME, "It is a path on somebody's computer.")
    if scheme is None or _HOST_AND_PORT.match(text):
        return _joined(text, folder)
    raise UrlError(ErrorCode.UNSUPPORTED_SCHEME, f"The scheme {scheme[1]}: is not supported.")


def _joined(path: str, folder: str | None) -> str:
    is_path = "/" in path or has_image_extension(path)
    if not is_path and (folder is None or _SEPARATORS.search(path)):
        raise UrlError(ErrorCode.INVALID_URL, "It is no URL.")
    if folder is None or path.lower().startswith("www."):
        raise UrlError(ErrorCode.RELATIVE_URL, "The URL does not begin with https://.")
    try:
        return urljoin(folder if folder.endswith("/") else folder + "/", path)
    except ValueError as error:
        raise UrlError(ErrorCode.INVALID_URL, f"It cannot be joined to {folder}.") from error


def _normalised(url: str) -> str:
    parts = _URL_PARTS.match(url)
    if parts is None or not parts[2]:
        raise UrlError(ErrorCode.INVALID_URL, "It has no host name.")
    if "@" in parts[2]:
        raise UrlError(ErrorCode.CREDENTIALS_IN_URL, "The URL holds a user name or password.")
    scheme = parts[1].lower()
    authority = _authority(parts[2], _DEFAULT_PORTS[scheme])
    path, query = (_TO_ENCODE.sub(_percent_encoded, part or "") for part in parts.group(3, 4))
    return f"{scheme}://{authority}{path or '/'}{query}"


def _percent_encoded(match: re.Match[str]) -> str:
    return quote(match[0], safe="")


def _authority(text: str, default_port: int) -> str:
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
    if len(text) > _MAX_HOST_LENGTH:
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
