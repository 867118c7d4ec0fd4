from __future__ import annotations

import re
from pathlib import Path

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from imagi_pipeline.gateway.metrics import CountRequests, Metrics
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.running_service import served, served_gateway

DEPLOY = Path(__file__).parents[2] / "deploy"
_EXPOSED = re.compile(r"^# TYPE (\w+)", re.MULTILINE)
_USED = re.compile(r"\bimagi_\w+")


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


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_the_gateway_has() -> None:
    with served_gateway(Settings()) as url:
        exposed = set(_EXPOSED.findall(requests.get(f"{url}/metrics", timeout=10).text))
    for name in ("grafana.json", "alerts.yaml"):
        used = {re.sub("_bucket$", "", found) for found in _USED.findall((DEPLOY / name).read_text())}
        assert used
        # What has no value yet while Dagster is down is not exposed, and named here instead.
        assert used - exposed <= {"imagi_requests"}
