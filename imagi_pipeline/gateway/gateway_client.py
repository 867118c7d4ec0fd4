"""Use the HTTP API as a program does: this is what `imagi submit` needs."""

from __future__ import annotations

import uuid
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from imagi_pipeline.core.http.own_services import own_session
from imagi_pipeline.core.printable import LONGEST_MESSAGE, printable
from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.gateway.documents import API

TIMEOUT = 60.0
BYTES_IN_A_PIECE = 1 << 18

_STATUS = "/check_request_status/{}/"

RETRIES = Retry(
    total=8,
    connect=4,
    backoff_factor=0.5,
    backoff_max=5,
    status_forcelist=[502, 503, 504],
    allowed_methods=["GET", "POST"],  # an upload carries an Idempotency-Key
    raise_on_status=False,
)


class GatewayError(OSError):
    """The gateway did not do what it was asked to; `code` is its name of the reason, if it gave one."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class GatewayClient:
    """A gateway at a URL such as `http://127.0.0.1:8000`. All methods raise GatewayError."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._session = own_session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def upload(self, file: Path, options: Mapping[str, Any], on_sent: Callable[[int], None]) -> str:
        """Hand in a CSV and return its request id. `on_sent` is told the number of bytes sent so far.

        Raises OSError when the file cannot be read.
        """
        with file.open("rb") as source:
            answer = self._ask(
                "POST",
                "/upload_csv/",
                params={"filename": file.name, **options},
                data=_Watched(source, file.stat().st_size, on_sent),
                headers={"Content-Type": "text/csv", "Idempotency-Key": str(uuid.uuid4())},
            )
        return str(answer.json()["request_id"])

    def status(self, request_id: str) -> RequestStatus:
        """Return how far a request is."""
        document = self._ask("GET", _STATUS.format(request_id)).json()
        progress, error = document["progress"], document["error"] or {}
        return RequestStatus(
            request_id=document["request_id"],
            status=document["status"],
            file=document["file"],
            rows=document["rows"],
            images_total=progress["total"],
            images_done=progress["done"],
            images_failed=progress["failed"],
            bytes_before=document["bytes_before"],
            bytes_after=document["bytes_after"],
            error_code=error.get("code"),
            error=error.get("message"),
            created=_seconds(document["created"]),
            settings=document["settings"],
            finished=_seconds(document["finished"]),
        )

    def status_url(self, request_id: str) -> str:
        """Return where the status of a request is told."""
        return self._url + API + _STATUS.format(request_id)

    def download(self, request_id: str, kind: str, target: Path) -> None:
        """Write the `result`, the `report` or the `archive` of a request to a file, whole or not at all."""
        unfinished = target.with_name(f".{target.name}.part")
        try:
            with (
                self._ask("GET", f"/requests/{request_id}/{kind}/", stream=True) as answer,
                unfinished.open("wb") as file,
            ):
                for piece in answer.iter_content(BYTES_IN_A_PIECE):
                    file.write(piece)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    def download_archive(self, request_id: str, folder: Path) -> None:
        """Write the images of a request, its enriched CSV with their paths and its report into a folder."""
        archive = folder / f".{request_id}.zip"
        try:
            self.download(request_id, "archive", archive)
            with zipfile.ZipFile(archive) as members:
                members.extractall(folder)  # which lets no name lead out of the folder
        finally:
            archive.unlink(missing_ok=True)

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self._url + API + path, timeout=TIMEOUT, **options)
        except requests.RequestException as error:
            raise GatewayError(
                f"No gateway answers at {self._url}. Start it with: imagi serve", "gateway_unreachable"
            ) from error
        if not answer.ok:
            raise _refusal(answer)
        return answer


class _Watched:
    """A file that reports how far it has been read, and can be sent again after a lost connection."""

    def __init__(self, file: Any, size: int, on_sent: Callable[[int], None]) -> None:
        self._file = file
        self._size = size
        self._on_sent = on_sent

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._file.read(size)
        self._on_sent(self._file.tell())
        return piece

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, position: int, whence: int = 0) -> int:
        return int(self._file.seek(position, whence))


def _refusal(answer: requests.Response) -> GatewayError:
    try:
        error = answer.json()["error"]
        return GatewayError(printable(error["message"], LONGEST_MESSAGE), printable(error["code"]))
    except (ValueError, KeyError, TypeError):
        return GatewayError(f"{answer.url} answered {answer.status_code} {printable(answer.reason)}.")


def _seconds(time: str | None) -> float | None:
    return datetime.fromisoformat(time).timestamp() if time else None
