"""Limits of the core for tests: hosts on loopback may be dialled, and one codec process is enough."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline.core.limits import EngineLimits


def fetch_limits(**changes: Any) -> FetchLimits:
    """Return the default limits of a download, with loopback allowed."""
    return FetchLimits(**{"allowed_networks": (ip_network("127.0.0.0/8"),), **changes})


def engine_limits(fetching: FetchLimits | None = None, **changes: Any) -> EngineLimits:
    """Return the default limits of the engine, with one codec process."""
    return EngineLimits(fetching or fetch_limits(), **{"codec_processes": 1, **changes})
