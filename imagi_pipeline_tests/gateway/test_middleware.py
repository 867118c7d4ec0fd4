from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from imagi_pipeline.gateway.documents import API
from imagi_pipeline.gateway.middleware import Guard, security_headers
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.running_service import served


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    async def tell(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.method} {request.url.path}", headers={"Cache-Control": "mine"})

    routes = [Route(f"{API}/things/", tell, methods=["GET", "POST"]), Route("/plain", tell)]
    with served(Guard(Starlette(routes=routes), Settings(), ["https://cdn.example/images"])) as url:
        yield url


def test_every_answer_has_safe_headers_and_keeps_its_own(url: str) -> None:
    answer = requests.get(f"{url}/plain", timeout=10)
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "mine"
    assert requests.get(f"{url}/nothing", timeout=10).headers["X-Content-Type-Options"] == "nosniff"


def test_a_path_of_the_api_works_without_its_trailing_slash(url: str) -> None:
    assert requests.get(f"{url}{API}/things", timeout=10).text == f"GET {API}/things/"


def test_head_is_answered_as_get(url: str) -> None:
    assert requests.head(f"{url}/plain", timeout=10).status_code == 200


def test_a_page_of_another_web_site_may_read_nothing_into_us(url: str) -> None:
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    refused = requests.post(f"{url}{API}/things/", timeout=10, headers=foreign)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cross_site")
    assert requests.post(f"{url}{API}/things/", timeout=10).status_code == 200
    assert requests.get(f"{url}/plain", timeout=10, headers=foreign).status_code == 200


def test_a_foreign_name_of_this_machine_is_refused(url: str) -> None:
    assert requests.get(f"{url}/plain", timeout=10, headers={"Host": "rebound.example"}).status_code == 403


def test_images_may_come_from_the_public_url_and_scripts_from_here_alone() -> None:
    policy = security_headers(["https://cdn.example/images"])["Content-Security-Policy"]
    assert "img-src 'self' blob: data: https://cdn.example;" in policy
    assert "script-src 'self';" in policy
    assert "default-src 'none';" in policy
