"""The compressed images over HTTP."""

from __future__ import annotations

from os import PathLike, stat_result

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from imagi_pipeline.core.images.signatures import file_type
from imagi_pipeline.core.storage.store import is_compressed_image

MEDIA = "/media"
CACHE_SECONDS = 24 * 3600
"""An image may change behind its URL, with its source or the settings: caches must ask again."""


class CompressedImages(StaticFiles):
    """The compressed images, without the records and temporary files beside them."""

    async def check_config(self) -> None:
        """Do nothing: before the first image there is no folder, and that is no fault."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The image, with ETag and Range by Starlette; 404 for anything else in the folder."""
        if not is_compressed_image(path):
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Add what caches need to know, and that any page may show the image."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = f"public, max-age={CACHE_SECONDS}"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response


def browser_type(data: bytes) -> str | None:
    """The media type of an image that every browser shows, by its first bytes; None for anything else."""
    found = file_type(data)
    return found.media_type if found else None
