"""How long to wait before a host is asked again: what it says with Retry-After, and our own backoff."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from imagi_pipeline.core.errors import FetchError
from imagi_pipeline.core.http.limits import FetchLimits

_BACKOFF_BASE = 0.5  # seconds
_BACKOFF_LIMIT = 30.0  # seconds
_random = random.SystemRandom()


def seconds_to_wait(retry_after: str | None) -> float | None:
    """Return the seconds from now that a header tells, as a number or an HTTP-date; None for other text."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:20])
    try:
        moment = parsedate_to_datetime(retry_after)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def retry_delay(error: FetchError, attempt: int, limits: FetchLimits) -> float | None:
    """Return the seconds to wait before the next attempt; None when there must be none.

    `attempt` is the number of attempts made so far. The wait is exponential backoff with full jitter, on top
    of what the host asked for with Retry-After.
    """
    asked = error.retry_after or 0.0
    if not error.transient or attempt >= limits.attempts or asked > limits.max_retry_after:
        return None
    return asked + _random.uniform(0, min(_BACKOFF_LIMIT, _BACKOFF_BASE * 2 ** (attempt - 1)))
