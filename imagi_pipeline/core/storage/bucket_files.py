"""Write, read and sign whole objects in a bucket (S3 and others, by fsspec), each by one call.

The path objects of fsspec first ask whether an object is there, and what size it has: two or three calls
instead of one, for each image. A put is atomic by itself.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Sequence
from typing import Any

from upath import UPath

CONNECTIONS = 64
"""To the bucket at the same time; as many as there are downloads by default."""

MOST_REMOVED_AT_ONCE = 1000
"""Objects that one call of S3 may remove."""

IMAGES_MAY_BE_KEPT = f"public, max-age={24 * 3600}"
"""Cache-Control of a compressed image; it may change behind its URL, so caches must ask again."""
MUST_BE_ASKED_FOR = "private, no-cache"

_types = mimetypes.MimeTypes()  # Python's own words, not those of the machine
_types.add_type("image/webp", ".webp")
_types.add_type("image/avif", ".avif")


def open_bucket(root: str) -> UPath:
    """Return the root of a storage in a bucket. Raises ImportError and ValueError for what cannot be used."""
    is_s3 = root.startswith(("s3:", "s3a:"))
    # Without the version botocore signs URLs for some regions in a way that others refuse.
    config = {"signature_version": "s3v4", "max_pool_connections": CONNECTIONS}
    path = UPath(root, config_kwargs=config) if is_s3 else UPath(root)
    listings = getattr(path.fs, "dircache", None)  # a package that is missing is found out here
    if listings is not None:  # what other processes put into a bucket must be seen
        listings.use_listings_cache = False
    return path


def put(path: UPath, data: bytes, *, only_new: bool = False) -> None:
    """Write an object; FileExistsError if `only_new` and there is one, even one being written just now."""
    path.fs.pipe_file(path.path, data, mode="create" if only_new else "overwrite", **_headers(path))


def put_file(path: UPath, file: str) -> None:
    """Write an object that is in a local file."""
    path.fs.put_file(file, path.path, **_headers(path))


def get(path: UPath) -> bytes:
    """Return the bytes of an object; FileNotFoundError when there is none."""
    # With more than one part at once, s3fs asks for the size first.
    options = {"max_concurrency": 1} if _is_s3(path) else {}
    return bytes(path.fs.cat_file(path.path, **options))


def signed_url(path: UPath, seconds: int) -> str | None:
    """Return a URL that lets its bearer read one object, made without a call; None if there is none."""
    try:
        return str(path.fs.sign(path.path, expiration=seconds))
    except NotImplementedError:
        return None


def remove(root: UPath, paths: Sequence[str]) -> None:
    """Remove objects in batches of 1,000, in this order; objects that are gone already are no error."""
    for some in _batches(paths, MOST_REMOVED_AT_ONCE):
        root.fs.rm(some)


def _batches(paths: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(paths), size):
        yield list(paths[start : start + size])


def _is_s3(path: UPath) -> bool:
    return path.protocol in ("s3", "s3a")


def _headers(path: UPath) -> dict[str, Any]:
    """Return what S3 keeps with an object and sends with it; other kinds of buckets have their own words."""
    if not _is_s3(path):
        return {}
    kind = _types.guess_type(path.name)[0] or "application/octet-stream"
    cache = IMAGES_MAY_BE_KEPT if kind.startswith("image/") else MUST_BE_ASKED_FOR
    return {"ContentType": kind, "CacheControl": cache}
