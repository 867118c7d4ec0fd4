"""The page of a run in the Dagster UI, in a real browser: its log grows while the run is at work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from imagi_pipeline_tests.browsers import chromium, needs_browser
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.running_service import Service, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_browser

NAMES = [f"slow-{number:02}.jpg" for number in range(60)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def test_the_log_of_a_run_grows_in_the_browser_while_it_is_at_work(
    service: Service, browser: Browser
) -> None:
    with ImageHost() as host:
        host.delay = 1.0
        service.drop("live-log.csv", host.add(*NAMES))
        request_id = service.request_of("live-log.csv")
        found = wait_for(lambda: service.status(request_id))
        page = browser.new_page(viewport={"width": 1400, "height": 1600})
        page.goto(f"{service.ui}/runs/{found.run_id}")

        newest = page.get_by_text("Materialized value compressed_image.").last
        newest.wait_for(timeout=60_000)
        partitions = {newest_partition(page)}
        while len(partitions) < 3:  # of batches that came one after another
            page.wait_for_timeout(100)
            partitions.add(newest_partition(page))
            assert "RUN_SUCCESS" not in page.inner_text("body"), partitions
        host.delay = 0
        assert service.finished(request_id).status == "completed"
        page.reload()  # a browser on a busy machine may have stopped to follow the end of the log
        page.get_by_text("RUN_SUCCESS").wait_for(timeout=60_000)
        page.close()


def newest_partition(page: Page) -> str:
    """Return the last image that the log shows: it scrolls to its end as it grows."""
    shown: list[str] = re.findall(r"slow-\d\d-[0-9a-f]{16}", page.inner_text("body"))
    return shown[-1] if shown else ""
