"""Make and check the names of requests and images, which are partition keys and parts of paths."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid
from urllib.parse import unquote, urlsplit

SLUG_LENGTH = 48
HASH_LENGTH = 16
_KEY = re.compile(rf"[a-z0-9_](?:[a-z0-9_-]|\.(?!\.))*-[0-9a-f]{{{HASH_LENGTH}}}")


def image_key(url: str, identity: str | None) -> str:
    """Return the readable, safe and unique name of an image: `<slug>-<hash>`.

    An image is its URL and the settings that it is made with (`CompressionSettings.identity`): the same URL
    made with other settings is another image. The slug comes from the URL's last path part; the hash is the
    start of the SHA-256 of both, or without `identity` of the URL alone, as in version 0.1 before options
    named images. The name is the image's partition key and the stem of its file.
    """
    name = unquote(urlsplit(url).path).rstrip("/").rsplit("/", 1)[-1]
    stem = name.rsplit(".", 1)[0]
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", plain))[:SLUG_LENGTH].strip("-._")
    both = url if identity is None else f"{url}\n{identity}"
    digest = hashlib.sha256(both.encode()).hexdigest()[:HASH_LENGTH]
    return f"{slug or 'image'}-{digest}"


def image_url(public_url: str, key: str, file: str) -> str:
    """Return the URL of a compressed image: of the file `file` of the image with this key."""
    return f"{public_url}/{folder_of(key)}/{file}"


def folder_of(key: str) -> str:
    """Return the folder of an image: one of 256, so that none grows too long to list."""
    return key.rsplit("-", 1)[-1][:2]


def is_request_id(text: str) -> bool:
    """Return whether a text is a request id: a UUID in its usual spelling, and so a safe part of a path."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def is_image_key(text: str) -> bool:
    """Return whether a text has the form of `image_key`, and so is a safe part of a path."""
    return _KEY.fullmatch(text) is not None
