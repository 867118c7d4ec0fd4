"""Serve the compressed images over HTTP."""

from __future__ import annotations

import re
from os import PathLike, stat_result

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from imagi_pipeline.core.images.signatures import file_type
from imagi_pipeline.core.storage.bucket_files import IMAGES_MAY_BE_KEPT
from imagi_pipeline.core.storage.store import Store, is_compressed_image

MEDIA = "/media"
_IMAGE = re.compile(r"[0-9a-f]{2}/[a-z0-9._-]+")
SECONDS_SIGNED = 6 * 3600
"""So long a redirect to the bucket can be followed."""


class CompressedImages(StaticFiles):
    """Serves the compressed images, but not the records and temporary files beside them."""

    async def check_config(self) -> None:
        """Do nothing: before the first image there is no folder, and that is no fault."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the image, with ETag and Range by Starlette; 404 for anything else in the folder."""
        if not is_compressed_image(path):
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Add what caches need to know, and that any page may show the image."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = IMAGES_MAY_BE_KEPT
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response


class ImagesOfABucket:
    """Sends browsers on to the bucket, by a URL that is signed for some hours: the bucket may be private."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a redirect, whether the image is there or not: only the bucket is asked for it."""
        path = str(scope["path"]).removeprefix(scope.get("root_path", "")).strip("/")
        is_image = _IMAGE.fullmatch(path) and is_compressed_image(path)
        url = self._store.signed_url(self._store.compressed / path, SECONDS_SIGNED) if is_image else None
        if url is None:
            raise HTTPException(404)
        # Kept for half the time, so that nobody has a URL that is just running out.
        headers = {
            "Cache-Control": f"private, max-age={SECONDS_SIGNED // 2}",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        await RedirectResponse(url, headers=headers)(scope, receive, send)


def browser_type(data: bytes) -> str | None:
    """Return the media type of an image that every browser shows, by its first bytes; None for all else."""
    found = file_type(data)
    return found.media_type if found else None
