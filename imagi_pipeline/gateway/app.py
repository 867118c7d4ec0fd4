"""What is served over HTTP: the compressed images."""

from __future__ import annotations

from os import PathLike, stat_result

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from imagi_pipeline.core.store import Store, is_compressed_image

MEDIA = "/media"
CACHE_SECONDS = 24 * 3600
"""An image may change behind its URL, with its source or the settings: caches must ask again."""


class CompressedImages(StaticFiles):
    """The compressed images, without the records and temporary files beside them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The image, with ETag and Range by Starlette; 404 for anything else in the folder."""
        if not is_compressed_image(path):
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Add what a browser and a cache need to know."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = f"public, max-age={CACHE_SECONDS}"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def build_app(store: Store) -> Starlette:
    """The application on one storage root; a bucket serves its images itself (IMAGI_PUBLIC_URL)."""
    images = CompressedImages(directory=str(store.compressed), check_dir=False)
    return Starlette(routes=[Mount(MEDIA, images)] if store.is_local else [])
