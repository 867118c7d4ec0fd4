"""These limits bound how much the engine may do and hold at the same time."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from imagi_pipeline.core.http.limits import FetchLimits


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The limits of one call of the engine; those of a single download are in `fetching`.

    Times are in seconds. A record that was checked less than `reuse_for` ago is reused without asking its
    host. A host that has given no answer to any attempt for `host_down_after` counts as down.
    `bytes_in_flight` are the source images held in memory at the same time, `pixels_in_flight` those that are
    decoded at the same time. `codec_processes` is the most that are started; an image that keeps one busy for
    longer than `codec_timeout` fails.
    """

    fetching: FetchLimits = field(default_factory=FetchLimits)
    reuse_for: float = 24 * 3600
    download_threads: int = 128
    connections_per_host: int = 128
    host_down_after: float = 30.0
    bytes_in_flight: int = 256_000_000
    codec_processes: int = field(default_factory=lambda: os.cpu_count() or 1)
    codec_timeout: float = 60.0
    pixels_in_flight: int = 100_000_000
