"""Put the HTTP application together: API, compressed images and page, on one storage and one Dagster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from importlib import metadata, resources
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.http.fetching import Fetcher
from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.core.storage.landing import SECONDS_OF_A_DAY
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.upkeep.retention import remove_landing_leftovers
from imagi_pipeline.gateway.api import Gateway, router, service
from imagi_pipeline.gateway.callback_attempts import Outcome
from imagi_pipeline.gateway.callbacks import Callbacks
from imagi_pipeline.gateway.csv_reading_turns import UploadReader
from imagi_pipeline.gateway.dagster_client import DagsterClient
from imagi_pipeline.gateway.documents import status_document
from imagi_pipeline.gateway.media import MEDIA, CompressedImages, ImagesOfABucket
from imagi_pipeline.gateway.metrics import CountRequests, Metrics
from imagi_pipeline.gateway.middleware import Guard
from imagi_pipeline.gateway.problems import add_handlers
from imagi_pipeline.gateway.request_service import RequestService
from imagi_pipeline.gateway.uploads import Intake, remove_old_keys
from imagi_pipeline.settings import Settings

PAGE = "page"

_log = logging.getLogger(__name__)


async def _tidy(store: Store) -> None:
    while True:
        try:
            await asyncio.to_thread(remove_old_keys, store)
        except StorageError as error:
            _log.warning("Old Idempotency-Keys were not removed: %s", error)
        await asyncio.sleep(SECONDS_OF_A_DAY)


def build_app(settings: Settings) -> FastAPI:
    """Return the gateway with these settings. Raises StorageError when the storage cannot be used."""
    gateway = _make_gateway(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        remove_landing_leftovers(gateway.store)
        tidying = asyncio.create_task(_tidy(gateway.store))
        gateway.callbacks.start()
        yield
        tidying.cancel()
        gateway.callbacks.stop()
        gateway.fetcher.close()
        gateway.upload_reader.close()

    app = FastAPI(
        title="imagi",
        summary="A CSV of image URLs in, the same CSV with the URLs of compressed copies out.",
        version=metadata.version("imagi_pipeline"),
        lifespan=lifespan,
        docs_url=None,  # it loads its scripts from other hosts
        redoc_url=None,
    )
    app.state.gateway = gateway
    if not settings.api_tokens:
        _document_without_tokens(app)
    add_handlers(app)
    app.include_router(router)
    app.include_router(service)
    _add_page(app)
    images_from = [settings.public_url]
    if gateway.store.is_local:
        app.mount(MEDIA, CompressedImages(directory=str(gateway.store.compressed), check_dir=False))
    else:
        app.mount(MEDIA, ImagesOfABucket(gateway.store))
        images_from += filter(None, [gateway.store.signed_url(gateway.store.compressed / "any", 1)])
    app.add_middleware(Guard, settings=settings, images_from=images_from)
    app.add_middleware(CountRequests, metrics=gateway.metrics)
    return app


def _document_without_tokens(app: FastAPI) -> None:
    """Make the OpenAPI document say that this gateway lets everybody in."""
    with_tokens = app.openapi

    def document() -> dict[str, Any]:
        found = with_tokens()
        for methods in found["paths"].values():
            for operation in methods.values():
                operation.pop("security", None)
        return found

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _make_gateway(settings: Settings) -> Gateway:
    store, client, metrics = Store(settings.storage), DagsterClient(settings.dagster_url), Metrics()
    requests = RequestService(store, client)

    def body_of(found: RequestStatus) -> str:
        return status_document(found, store, settings).model_dump_json()

    def count(outcome: Outcome) -> None:
        metrics.callbacks.labels(outcome).inc()

    callbacks = Callbacks(store, settings, requests.find, body_of, count)
    metrics.watch(store, client, callbacks)
    return Gateway(
        settings=settings,
        store=store,
        client=client,
        requests=requests,
        intake=Intake(store, settings, callbacks.register),
        callbacks=callbacks,
        fetcher=Fetcher(settings.fetch_limits),
        metrics=metrics,
        upload_reader=UploadReader(settings.csv_limits, has_callers=len(settings.api_tokens) > 1),
    )


class _PageFiles(StaticFiles):
    """Serves the parts of the page, which browsers keep and check by ETag."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_page(app: FastAPI) -> None:
    folder = str(resources.files("imagi_pipeline.gateway") / PAGE)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(f"{folder}/index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(f"{folder}/docs.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", _PageFiles(directory=folder))
