"""Count what a gateway does, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagi_pipeline.core.storage.landing import waiting_requests
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.callbacks import Callbacks
from imagi_pipeline.gateway.dagster_client import DagsterClient, DagsterUnreachableError
from imagi_pipeline.gateway.health import oldest_wait

CONTENT_TYPE = CONTENT_TYPE_LATEST
NO_ROUTE = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
OTHER = "other"


class Metrics:
    """The figures of one gateway since its start."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.answers = Counter(
            "imagi_http_requests",
            "Answered HTTP requests.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "imagi_http_request_seconds",
            "Time until the whole answer was sent.",
            ["route"],
            registry=self._registry,
        )
        self.uploads = Counter(
            "imagi_uploads",
            "Uploaded CSVs by outcome: accepted, repeated, or the error code.",
            ["outcome"],
            registry=self._registry,
        )
        self.upload_bytes = Counter("imagi_upload_bytes", "Bytes of accepted CSVs.", registry=self._registry)
        self.callbacks = Counter(
            "imagi_callbacks",
            "Attempts to deliver a callback by outcome.",
            ["outcome"],
            registry=self._registry,
        )

    def watch(self, store: Store, client: DagsterClient, callbacks: Callbacks) -> None:
        """Add the gauges that are read when Prometheus asks."""
        self._registry.register(_Gauges(store, client, callbacks))

    def exposition(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, store: Store, client: DagsterClient, callbacks: Callbacks) -> None:
        self._store = store
        self._client = client
        self._callbacks = callbacks

    def describe(self) -> Iterable[Metric]:
        """Return nothing: otherwise the registry would collect once to find the names."""
        return []

    def collect(self) -> Iterable[Metric]:
        waiting = GaugeMetricFamily("imagi_landing_requests", "Requests that wait for the sensor.")
        waiting.add_metric([], len(waiting_requests(self._store)))
        yield waiting
        oldest = GaugeMetricFamily("imagi_landing_oldest_seconds", "Wait of the oldest of them.")
        oldest.add_metric([], oldest_wait(self._store))
        yield oldest
        pending = GaugeMetricFamily("imagi_callbacks_pending", "Callbacks that are not accepted yet.")
        pending.add_metric([], self._callbacks.pending())
        yield pending
        up = GaugeMetricFamily("imagi_dagster_up", "Whether Dagster's web server answers.")
        runs = GaugeMetricFamily("imagi_requests", "Requests whose run has this status.", labels=["status"])
        try:
            for status, number in self._client.count_runs().items():
                runs.add_metric([status], number)
            up.add_metric([], 1)
        except DagsterUnreachableError:
            up.add_metric([], 0)
        yield up
        yield runs


class CountRequests:
    """Counts and times every answer by the route that gave it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)  # the router has set it
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self._metrics.answers.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)
