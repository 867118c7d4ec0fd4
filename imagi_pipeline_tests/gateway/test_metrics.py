from __future__ import annotations

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from imagi_pipeline.gateway.metrics import CountRequests, Metrics
from imagi_pipeline_tests.running_service import served


def test_every_answer_is_counted_by_its_route_also_one_that_failed() -> None:
    async def thing(request: Request) -> PlainTextResponse:
        if request.path_params["name"] == "bad":
            raise ValueError
        return PlainTextResponse("x")

    metrics = Metrics()
    routes = [Route("/things/{name}", thing)]
    with served(CountRequests(Starlette(routes=routes), metrics)) as url:
        for name in ("a", "b", "bad"):
            requests.get(f"{url}/things/{name}", timeout=10)
        requests.request("BREW", f"{url}/elsewhere", timeout=10)
    told = metrics.exposition().decode()
    assert 'imagi_http_requests_total{method="GET",route="/things/{name}",status="200"} 2.0' in told
    assert 'imagi_http_requests_total{method="GET",route="/things/{name}",status="500"} 1.0' in told
    assert 'imagi_http_requests_total{method="other",route="none",status="404"} 1.0' in told
    assert 'imagi_http_request_seconds_count{route="/things/{name}"} 3.0' in told


def test_two_gateways_of_a_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.uploads.labels("accepted").inc()
    assert b'imagi_uploads_total{outcome="accepted"} 1.0' in one.exposition()
    assert b'"accepted"' not in other.exposition()


@pytest.mark.parametrize("name", ["imagi_http_requests", "imagi_uploads", "imagi_callbacks"])
def test_every_figure_says_what_it_is(name: str) -> None:
    assert f"# HELP {name}_total ".encode() in Metrics().exposition()
