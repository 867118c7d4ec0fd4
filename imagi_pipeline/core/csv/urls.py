"""Turn one entry of a cell into the URL that is requested, or say why it cannot be one."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin

from imagi_pipeline.core.authority import DEFAULT_PORTS, normal_authority
from imagi_pipeline.core.errors import ErrorCode, UrlError

MAX_URL_BYTES = 2048
PATH_PLACE = "*"
"""In a base URL this is replaced by the path in a cell: `https://shop.example/media/*`."""

# Unicode white space and the zero-width characters that come along when a URL is copied from a web page.
BLANKS = (
    " \t\r\n\v\f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\u200b\u2060\ufeff"
)
EXTENSION = r"\.(?:apng|avif|bmp|gif|heic|heif|ico|j2k|jfif|jp2|jpe|jpeg|jpg|jxl|png|svg|tga|tif|tiff|webp)"

_MAX_LENGTH_LOOKED_AT = 32 * MAX_URL_BYTES
_HOST = r"(?:(?:[a-z][a-z0-9+.-]*+:)?//[^/?#]*+)?+"
_IMAGE_IN_PATH = re.compile(rf"{_HOST}[^?#]*?{EXTENSION}(?![a-z0-9])", re.IGNORECASE)

# A URL that is already what it would be normalised to. A plain one holds no separator either.
_ORIGIN = r"https?://(?=[^/]{1,63}/)(?:[a-z0-9]++(?:-+[a-z0-9]++)*+[.])+[a-z0-9]++(?:-+[a-z0-9]++)*+/"
_PLAIN = r"[A-Za-z0-9._~!$&'()*+:@/?=\[\]-]*+"
_CLEAN = r"[A-Za-z0-9._~!$&'()*+,:@/?=\[\]-]*+"
PLAIN_URL = re.compile(rf"{_ORIGIN}{_PLAIN}(?:%[0-9A-Fa-f]{{2}}{_PLAIN})*+(?<!')")
_CLEAN_URL = re.compile(rf"{_ORIGIN}{_CLEAN}(?:%[0-9A-Fa-f]{{2}}{_CLEAN})*+")

BASE64 = re.compile(
    r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/=\s]{12,}+"
    r"|[A-Za-z0-9+/]{64}[A-Za-z0-9+/\s]{64,}+={0,2}+\s*+"
)
LOCAL_PATH = re.compile(r"[a-z]:[\\/]|\\\\", re.IGNORECASE)

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*+):", re.IGNORECASE)
_WEB_START = re.compile(r"(https?:)?[\\/]{2}", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"[a-z0-9.-]++:\d++(?:/|$)", re.IGNORECASE)
_URL_PARTS = re.compile(r"(https?)://([^/?#]*+)([^?#]*+)(\?[^#]*+)?", re.IGNORECASE)
_ESCAPED_AMPERSAND = re.compile(r"&(?:(?:amp|#0*+38|#x0*+26);)++|&(?=amp;)", re.IGNORECASE)
_LINE_BREAKS = str.maketrans("", "", "\t\r\n")
_CONTROL = "".join(map(chr, range(0x20)))
_STRAY_BYTE = re.compile("[\ud800-\udfff]")
_TO_ENCODE = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/?\[\]%-]+")
_SEPARATOR = re.compile(r"[\s,;|]")
# /m/b/mb01.jpg: Magento's folders are the first two letters of the name, and `_` for other characters.
_MAGENTO_PATH = re.compile(r"/([^/\\?#])/([^/\\?#])/([^/\\?#])([^/\\?#])[^/\\?#]*+")


def is_plain_url(text: str) -> bool:
    """Return whether the text is one URL that `normalise` would not change, as in most cells."""
    # Where two slashes come again, another URL may begin.
    return PLAIN_URL.fullmatch(text) is not None and len(text) <= MAX_URL_BYTES and text.find("//", 8) < 0


def has_image_extension(url: str) -> bool:
    """Return whether the path of a URL, or a relative path, names an image file."""
    return _IMAGE_IN_PATH.match(url) is not None


def normalise(item: str, folder: str | None = None) -> str:
    """Return the URL to request for an item of a cell.

    Scheme and host are lower case, the host is in IDNA form, characters that a URL cannot hold are
    percent-encoded, `&amp;` is `&`, `\\` in the path is `/`, fragment, default port and line breaks are gone,
    as in browsers. What is already encoded and the order of the query stay as they are. `folder` is the URL
    of the folder that relative paths are joined to: a path that begins with `/` to its host, unless it is
    one of Magento's (`/m/b/mb01.jpg`), or `folder` says by a `*` where paths are put.

    Raises UrlError (relative_url, unsupported_scheme, data_uri, bare_base64, credentials_in_url,
    url_too_long, invalid_url) when the item is no http or https URL.
    """
    if _CLEAN_URL.fullmatch(item) and len(item) <= MAX_URL_BYTES:
        return item
    text = item.strip(BLANKS + _CONTROL)
    _refuse_embedded_image(text)
    if len(text) > _MAX_LENGTH_LOOKED_AT:
        raise UrlError(ErrorCode.URL_TOO_LONG, f"The URL has {len(text):,} characters.")
    if "&" in text:
        text = _ESCAPED_AMPERSAND.sub("&", text)
    if "\\" in text:
        text = text.replace("\\/", "/")
    if not text.isprintable():
        text = text.translate(_LINE_BREAKS)
    url = _normalised(_absolute(_with_slashes(text), folder))
    if len(url) > MAX_URL_BYTES:
        raise UrlError(ErrorCode.URL_TOO_LONG, f"The URL has {len(url):,} bytes.")
    return url


def _refuse_embedded_image(text: str) -> None:
    if text[:5].lower() == "data:":
        raise UrlError(ErrorCode.DATA_URI, "The cell holds an image itself, as a data: URL.")
    if BASE64.fullmatch(text):
        raise UrlError(ErrorCode.BARE_BASE64, "The cell holds an image itself, in base64.")
    if _STRAY_BYTE.search(text):
        raise UrlError(ErrorCode.INVALID_URL, "It holds bytes that break the encoding of the file.")


def _with_slashes(text: str) -> str:
    """Turn the backslashes of a path into slashes, as browsers do."""
    if "\\" not in text or (LOCAL_PATH.match(text) and not _WEB_START.match(text[2:])):
        return text
    end = next((index for index, character in enumerate(text) if character in "?#"), len(text))
    return text[:end].replace("\\", "/") + text[end:]


def _absolute(text: str, folder: str | None) -> str:
    if text.startswith("//"):
        return ("http:" if folder and folder.startswith("http:") else "https:") + text
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() in DEFAULT_PORTS:
        return text
    if LOCAL_PATH.match(text):
        raise UrlError(ErrorCode.UNSUPPORTED_SCHEME, "It is a path on somebody's computer.")
    if scheme is None or _HOST_AND_PORT.match(text):
        return _joined(text, folder)
    raise UrlError(ErrorCode.UNSUPPORTED_SCHEME, f"The scheme {scheme[1][:20]}: is not supported.")


def _joined(path: str, folder: str | None) -> str:
    is_path = "/" in path or has_image_extension(path)
    if not is_path and (folder is None or _SEPARATOR.search(path)):
        raise UrlError(ErrorCode.INVALID_URL, "It is no URL.")
    if folder is None or path.lower().startswith("www."):
        raise UrlError(ErrorCode.RELATIVE_URL, "The URL does not begin with https://.")
    if PATH_PLACE in folder:
        return folder.replace(PATH_PLACE, path.lstrip("/"), 1)
    if _is_magento_path(path):
        path = path[1:]
    try:
        return urljoin(folder if folder.endswith("/") else folder + "/", path)
    except ValueError as error:
        raise UrlError(ErrorCode.INVALID_URL, f"It cannot be joined to {folder}.") from error


def _is_magento_path(path: str) -> bool:
    match = _MAGENTO_PATH.fullmatch(path)
    return match is not None and all(
        folder in (letter.lower(), "_")
        for folder, letter in zip(match.group(1, 2), match.group(3, 4), strict=True)
    )


def _normalised(url: str) -> str:
    parts = _URL_PARTS.match(url)
    if parts is None or not parts[2]:
        raise UrlError(ErrorCode.INVALID_URL, "It has no host name.")
    if "@" in parts[2]:
        raise UrlError(ErrorCode.CREDENTIALS_IN_URL, "The URL holds a user name or password.")
    scheme = parts[1].lower()
    authority = normal_authority(parts[2], DEFAULT_PORTS[scheme])
    path, query = (_TO_ENCODE.sub(_percent_encoded, part or "") for part in parts.group(3, 4))
    return f"{scheme}://{authority}{path or '/'}{query}"


def _percent_encoded(match: re.Match[str]) -> str:
    return quote(match[0], safe="")
