"""Make one attempt to deliver a callback: a signed POST, and what follows from its answer."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from standardwebhooks import Webhook

from imagi_pipeline.core.errors import FetchError
from imagi_pipeline.core.http.delivery import Messenger, PostAnswer
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline.gateway.pending_callbacks import PendingCallback, PendingCallbacks

SECONDS_TO_ANSWER = 20.0
FIRST_WAIT, LONGEST_WAIT = 5.0, 3600.0

_GONE = 410

_random = random.SystemRandom()
_log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What came of an attempt: a 2xx answer, any other answer, none."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent for the callback in the file `name`: every attempt for one run has the same `id`."""

    name: str
    pending: PendingCallback
    id: str
    body: str


class Attempts:
    """Makes the attempts, from any number of threads, until `close`."""

    def __init__(self, key: str, limits: FetchLimits, callbacks: PendingCallbacks) -> None:
        self._webhook = Webhook(key)
        self._messenger = Messenger(replace(limits, deadline=min(SECONDS_TO_ANSWER, limits.deadline)))
        self._callbacks = callbacks
        self._closed = threading.Event()

    def close(self) -> None:
        """Cut off the attempts under way, which count as not made."""
        self._closed.set()
        self._messenger.close()

    def make(self, message: Message) -> Outcome | None:
        """Make one attempt; the outcome is None if `close` cut it off. Raises StorageError."""
        try:
            answer = self._post(message)
        except FetchError as error:
            if self._closed.is_set():
                return None
            self._put_off(message, error.detail, error.retry_after)
            return Outcome.FAILED
        if 200 <= answer.status < 300:
            self._callbacks.remove(message.name)
            return Outcome.ACCEPTED
        if answer.status == _GONE:
            _log.warning("The receiver of %s wants no more callbacks (410).", message.id)
            self._callbacks.remove(message.name)
        else:
            self._put_off(message, f"The receiver answered {answer.status}.", answer.retry_after)
        return Outcome.REFUSED

    def _post(self, message: Message) -> PostAnswer:
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message.id, now, message.body),
        }
        return self._messenger.post(message.pending.url, message.body.encode(), headers)

    def _put_off(self, message: Message, reason: str, retry_after: float | None) -> None:
        attempts = message.pending.attempts + 1
        wait = wait_before_next(attempts, retry_after)
        _log.warning(
            "%s was not accepted, attempt %d: %s The next attempt is in %.0f s.",
            message.id,
            attempts,
            reason,
            wait,
        )
        later = {"attempts": attempts, "next_attempt": time.time() + wait, "last_error": reason}
        self._callbacks.write(message.name, message.pending.model_copy(update=later))


def wait_before_next(attempts: int, retry_after: float | None) -> float:
    """Return the seconds until the next attempt: 5, doubled after each attempt, or as the receiver asked.

    Up to half as much more is added, so that callbacks do not come back together. It is an hour at most.
    """
    doubled = FIRST_WAIT * 2.0 ** min(attempts - 1, 10)  # 2.0 ** 2000 is too large for a float
    wait = min(doubled, LONGEST_WAIT / 1.5) * _random.uniform(1, 1.5)
    return min(LONGEST_WAIT, max(wait, retry_after or 0.0))
