from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from starlette.applications import Starlette
from starlette.routing import Mount

from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.media import MEDIA, CompressedImages, browser_type
from imagi_pipeline_tests.running_service import served

PNG = b"\x89PNG\r\n\x1a\n"
NAME = "3f/shoe-3f2a9c1b7d2e4f60"


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    images = CompressedImages(directory=str(store.compressed), check_dir=False)
    with served(Starlette(routes=[Mount(MEDIA, images)])) as url:
        yield url + MEDIA


def test_an_image_is_served_for_any_page_and_may_be_kept(url: str, store: Store) -> None:
    store.write(store.compressed / f"{NAME}.png", PNG)
    answer = requests.get(f"{url}/{NAME}.png", timeout=10)
    assert (answer.content, answer.headers["Content-Type"]) == (PNG, "image/png")
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "max-age" in answer.headers["Cache-Control"]
    again = requests.get(f"{url}/{NAME}.png", timeout=10, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", [f"{NAME}.json", "3f/.shoe.png.part"])
def test_nothing_else_in_the_folder_is_served(url: str, store: Store, name: str) -> None:
    store.write(store.compressed / name, b"{}")
    assert requests.get(f"{url}/{name}", timeout=10).status_code == 404


def test_before_the_first_image_nothing_is_found(url: str) -> None:
    assert requests.get(f"{url}/{NAME}.png", timeout=10).status_code == 404


def test_what_browsers_show_is_known_by_its_first_bytes() -> None:
    assert browser_type(PNG) == "image/png"
    assert browser_type(b"<svg onload='alert(1)'>") is None
    assert browser_type(b"II*\0") is None
