"""A real browser for the tests that need one; they are skipped without it, but not in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

try:
    from playwright.sync_api import Browser, expect, sync_playwright
except ImportError as error:
    MISSING: str | None = f"{error.name} is not installed"
else:
    MISSING = None

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHY_NOT = MISSING or (None if CHROMIUM else "there is no Chromium")

needs_browser = pytest.mark.skipif(
    WHY_NOT is not None and os.environ.get("CI") != "true", reason=f"needs a browser: {WHY_NOT}"
)

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WAIT = 45_000  # milliseconds


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Start a browser."""
    assert WHY_NOT is None, WHY_NOT
    with sync_playwright() as playwright:
        expect.set_options(timeout=WAIT)
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *arguments])
        yield running
        running.close()
