"""Receive a CSV, check it, and put it into the landing folder before it is acknowledged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email.message import Message
from typing import IO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message as AsgiMessage

from imagi_pipeline.core.csv.urls import normalise
from imagi_pipeline.core.errors import ErrorCode
from imagi_pipeline.core.images.options import OPTION_NAMES, CompressionOptions, unknown_name
from imagi_pipeline.core.storage.landing import SECONDS_OF_A_DAY, publish, status_without_run
from imagi_pipeline.core.storage.manifests import RequestManifest, safe_file_name
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.problems import ApiError, unavailable
from imagi_pipeline.settings import Settings, variable

BYTES_IN_MEMORY = 1 << 20
BYTES_OF_A_FORM = 1 << 16
"""Bytes that a multipart form may have besides its file."""

RAW_TYPES = frozenset({"text/csv", "application/csv", "application/octet-stream", "text/plain"})
LONGEST_KEY = 255
FIELDS = ("url_column", "base_url", "callback_url", "in_place", *OPTION_NAMES)
"""What may come with a CSV, as fields of the form or as query parameters; and `filename`."""

_TRUTHS = {
    "true": True,
    "1": True,
    "on": True,
    "yes": True,
    "false": False,
    "0": False,
    "off": False,
    "no": False,
}
LONGEST_OPTION = 2_000
"""Characters of an option: browsers and servers take as many for a URL; a column's name is shorter."""


@dataclass(frozen=True)
class Options:
    """What came with a CSV."""

    name: str
    url_columns: tuple[str, ...]
    base_url: str | None
    callback_url: str | None
    in_place: bool
    compression: CompressionOptions


@dataclass(frozen=True)
class Upload:
    """A received CSV, of any size, in a temporary file."""

    file: IO[bytes]
    options: Options
    size: int

    def read(self) -> bytes:
        """Return the bytes of the upload."""
        self.file.seek(0)
        return self.file.read()


@contextlib.asynccontextmanager
async def received(request: Request, settings: Settings) -> AsyncIterator[Upload]:
    """Take the CSV from the body of a call, which is a multipart form with a `file`, or the CSV itself.

    Raises ApiError (413, 415, 422, 503), and OptionError for what a request cannot have.
    """
    try:
        async with _body(request, settings) as upload:
            yield upload
    except OSError as error:
        raise unavailable(
            ErrorCode.STORAGE_FAILURE.code,
            f"The upload cannot be kept in the folder for temporary files: {error.strerror or error}. Free "
            "space there, or set TMPDIR of the gateway to another folder.",
        ) from error
    except ClientDisconnect as error:
        raise ApiError(400, "client_gone", "The connection ended before the whole body was there.") from error


@contextlib.asynccontextmanager
async def _body(request: Request, settings: Settings) -> AsyncIterator[Upload]:
    limited = _Limited(request, settings.max_upload_bytes)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with limited.form() as form:
            upload = _of_form(form, request.query_params.multi_items())
            if upload.size > settings.max_upload_bytes:
                raise _too_large(settings.max_upload_bytes)
            yield upload
    elif kind in RAW_TYPES:
        with tempfile.SpooledTemporaryFile(BYTES_IN_MEMORY) as file:
            async for piece in limited.request.stream():
                file.write(piece)
            if not file.tell():
                raise _missing_file()
            yield Upload(
                file,
                size=file.tell(),
                options=_options(request.query_params.multi_items(), _raw_name(request)),
            )
    else:
        raise ApiError(
            415, "unsupported_media_type", "Send a multipart form with a field 'file', or a text/csv body."
        )


class _Limited:
    """A call whose body may have so many bytes, and a form a little more."""

    def __init__(self, request: Request, most: int) -> None:
        self._receive = request.receive
        self._most = most
        self._left = most
        self.request = Request(request.scope, self._take)

    @contextlib.asynccontextmanager
    async def form(self) -> AsyncIterator[FormData]:
        self._left += BYTES_OF_A_FORM
        try:
            async with self.request.form(max_files=1, max_fields=100) as form:
                yield form
        except HTTPException as error:
            raise ApiError(422, "invalid_request", f"The form cannot be read: {error.detail}") from error

    async def _take(self) -> AsgiMessage:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            await self._drain(message)
            raise _too_large(self._most)
        return message

    async def _drain(self, message: AsgiMessage) -> None:
        """Read as much again: most clients read an answer only after they have sent everything."""
        while message.get("more_body") and self._left > -self._most:
            message = await self._receive()
            self._left -= len(message.get("body", b""))


def _of_form(form: FormData, in_query: list[tuple[str, str]]) -> Upload:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise _missing_file()
    texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return Upload(file.file, _options(in_query + texts, file.filename or ""), file.size or 0)


def _options(given: list[tuple[str, str]], name: str) -> Options:
    def last(wanted: str) -> str | None:
        return next((value for key, value in reversed(given) if key == wanted and value), None)

    for field, value in given:
        if field not in FIELDS and field != "filename":
            raise unknown_name(field, FIELDS)
        if len(value) > LONGEST_OPTION:
            message = f"The field {field} may have {LONGEST_OPTION:,} characters."
            raise ApiError(422, "invalid_request", message, column=field)
    return Options(
        name=safe_file_name(last("filename") or name),
        url_columns=tuple(value for key, value in given if key == "url_column" and value),
        base_url=last("base_url"),
        callback_url=last("callback_url"),
        in_place=_truth("in_place", last("in_place")),
        compression=CompressionOptions.parse({name: last(name) for name in OPTION_NAMES}),
    )


def _truth(field: str, value: str | None) -> bool:
    found = _TRUTHS.get((value or "false").lower())
    if found is None:
        raise ApiError(422, "invalid_request", f"The field {field} is true or false.", column=field)
    return found


def _raw_name(request: Request) -> str:
    header = Message()
    header["Content-Disposition"] = request.headers.get("content-disposition", "attachment")
    return header.get_filename() or ""


def _too_large(most: int) -> ApiError:
    message = f"A CSV may have {most:,} bytes. Split it, or raise {variable('max_upload_bytes')}."
    return ApiError(413, "too_large", message, headers={"Connection": "close"})


def _missing_file() -> ApiError:
    return ApiError(422, "missing_file", "Send the CSV as the field 'file' of the form.", column="file")


class Intake:
    """Accepts what was received: from then on it cannot be lost."""

    def __init__(
        self, store: Store, settings: Settings, register_callback: Callable[[str, str], None]
    ) -> None:
        self._store = store
        self._settings = settings
        self._register_callback = register_callback
        self._one_key_at_a_time = threading.Lock()

    def accept(self, upload: Upload, data: bytes, owner: str | None, key: str | None) -> tuple[str, bool]:
        """Put a CSV that was read into the landing folder; return its request id, and whether it is new.

        With `key`, the Idempotency-Key, a CSV that was handed in before is not taken twice. Raises
        UrlError, StorageError, and ApiError 422 when the key came with something else before.
        """
        self._check_callback(upload.options.callback_url)
        if key is None:
            return self._publish(str(uuid.uuid4()), upload.options, owner, data), True
        if not 0 < len(key) <= LONGEST_KEY:
            raise ApiError(422, "invalid_request", f"An Idempotency-Key has 1 to {LONGEST_KEY} characters.")
        with self._one_key_at_a_time:
            request_id = self._request_of(key, owner, upload.options, data)
            if status_without_run(self._store, request_id):
                return request_id, False
            return self._publish(request_id, upload.options, owner, data), True

    def _check_callback(self, url: str | None) -> None:
        if url and self._settings.webhook_secret is None:
            message = f"This service makes no callbacks: {variable('webhook_secret')} is not set."
            raise ApiError(422, "no_callbacks", message, column="callback_url")
        if url:
            normalise(url)

    def _publish(self, request_id: str, options: Options, owner: str | None, data: bytes) -> str:
        if (
            options.callback_url
        ):  # before the request, whose end could otherwise come before its callback is known
            self._register_callback(request_id, options.callback_url)
        manifest = RequestManifest(
            options.name,
            options.url_columns,
            options.base_url,
            owner=owner,
            created=time.time(),
            callback_url=options.callback_url,
            in_place=options.in_place,
            options=options.compression,
        ).settled(self._settings.compression)
        publish(self._store, request_id, manifest, data)
        return request_id

    def _request_of(self, key: str, owner: str | None, options: Options, data: bytes) -> str:
        """Return the request id that belongs to a key; it is kept before the request is published."""
        path = self._store.idempotency_keys / f"{_digest(repr((owner, key)).encode())}.json"
        content = _digest(repr(options).encode() + data)
        request_id = str(uuid.uuid4())
        record = {"request_id": request_id, "content": content, "created": time.time()}
        if self._store.create(path, json.dumps(record).encode()):
            return request_id
        known = json.loads(self._store.read(path) or json.dumps(record))  # it was removed just now: too old
        if known["content"] != content:
            message = "This Idempotency-Key came with another file or other options before. Use a new one."
            raise ApiError(422, "idempotency_key_reused", message, column="Idempotency-Key")
        return str(known["request_id"])


def remove_old_keys(store: Store) -> None:
    """Forget the Idempotency-Keys that are older than a day."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # none came yet
        for path in store.idempotency_keys.iterdir():
            record = json.loads(store.read(path) or "{}")
            if time.time() - record.get("created", 0.0) > SECONDS_OF_A_DAY:
                path.unlink(missing_ok=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
