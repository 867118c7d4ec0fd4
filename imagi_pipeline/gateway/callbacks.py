"""Signed callbacks: the gateway tells whoever gave a callback URL with a request how the request ended.

A pending callback is a file of the storage (`pending_callbacks.py`). It is written before its request is
published, and removed only when the receiver has accepted the message or wants no more. How a request ended
is looked up at the same place as its status, so no callback depends on a sensor, and none is lost with a
process. Here it is decided which callbacks are due; `callback_attempts.py` delivers them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias
from urllib.parse import urlsplit

from imagi_pipeline.core.csv.urls import normalise
from imagi_pipeline.core.request_status import FAILED, RequestStatus
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.callback_attempts import (
    FIRST_WAIT,
    LONGEST_WAIT,
    Attempts,
    Message,
    Outcome,
)
from imagi_pipeline.gateway.dagster_client import DagsterUnreachableError
from imagi_pipeline.gateway.fair_pool import FairPool
from imagi_pipeline.gateway.pending_callbacks import PendingCallback, PendingCallbacks, request_id_in
from imagi_pipeline.settings import Settings, variable

SECONDS_UNTIL_FORGOTTEN = 24 * 3600.0

DELIVERIES_AT_ONCE = 8
DELIVERIES_TO_ONE_RECEIVER = 2

_SECONDS_BETWEEN_PASSES = 2.0
_LONGEST_PAUSE = 60.0
_PAUSE_PER_WORK = 10  # a pass over very many files takes at most a tenth of a core
_SECONDS_OF_REST = 600.0

_Attempt: TypeAlias = Future[Outcome | None]

_log = logging.getLogger(__name__)


class CallbacksOffError(Exception):
    """There is no key to sign callbacks with."""


class Callbacks:
    """Delivers the callbacks of one storage, from threads of its own between `start` and `stop`.

    `find` gives the status of a request, None when there is no such request, and raises
    DagsterUnreachableError. `body_of` makes the JSON of a status as the API answers it. `on_delivered` is
    called after each attempt, from any thread.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        find: Callable[[str], RequestStatus | None],
        body_of: Callable[[RequestStatus], str],
        on_delivered: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        key = settings.webhook_secret
        self._files = PendingCallbacks(store)
        self._attempts = Attempts(key.get_secret_value(), settings.fetch_limits, self._files) if key else None
        self._find = find
        self._body_of = body_of
        self._on_delivered = on_delivered
        self._lock = self._files.lock()
        self._pool: FairPool[Outcome | None] = FairPool(
            DELIVERIES_AT_ONCE, DELIVERIES_TO_ONE_RECEIVER, "imagi-callback"
        )
        self._pass = threading.Lock()
        self._under_way: dict[str, _Attempt] = {}
        self._rests_until: dict[str, float] = {}
        self._seen_failed: set[str] = set()
        self._dagster_answers = True
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="imagi-callbacks", daemon=True)

    def start(self) -> None:
        """Make a pass every 2 seconds from now on; less often when there is very much to look at."""
        if self._attempts is None and (count := self.pending()):
            _log.warning("%d callbacks wait until %s is set again.", count, variable("webhook_secret"))
        self._thread.start()

    def stop(self) -> None:
        """End the passes and the attempts under way, which count as not made, and let another deliver."""
        self._stopping.set()
        if self._attempts:
            self._attempts.close()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.close()
        self._lock.release()

    def register(self, request_id: str, url: str, *, after: str | None = None) -> None:
        """Have the end of a request told to `url`; this is on the disk when the method returns.

        Call it before the request is published. Before a re-try is launched, call it with the newest run as
        `after`: then the end of a later run is told. The same request and `after` again change nothing that
        matters.

        Raises UrlError, StorageError, CallbacksOffError without a key, ValueError for what is no id.
        """
        if self._attempts is None:
            raise CallbacksOffError(f"Callbacks are off: set {variable('webhook_secret')}, or ask for none.")
        pending = PendingCallback(url=normalise(url), created=time.time(), after=after)
        self._files.add(request_id, pending)

    def pending(self) -> int:
        """Return how many callbacks were not accepted yet, those of unfinished requests included."""
        return len(self._files.names())

    def deliver_due(self) -> Counter[Outcome]:
        """Make one pass, wait for its attempts, and return how many there were of each outcome.

        It is public for who delivers without the thread of `start`, as the tests do.
        """
        outcomes = [attempt.result() for attempt in self._start_due()]
        return Counter(outcome for outcome in outcomes if outcome)

    # -- a pass

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._start_due()
                pause = max(_SECONDS_BETWEEN_PASSES, _PAUSE_PER_WORK * (time.monotonic() - began))
            except Exception:  # noqa: BLE001 - the next pass may go well
                _log.exception("No pass over the callbacks can be made.")
                pause = _LONGEST_PAUSE
            self._stopping.wait(min(pause, _LONGEST_PAUSE))

    def _start_due(self) -> list[_Attempt]:
        """Start an attempt for each callback whose time has come, as far as threads are free."""
        started: list[_Attempt] = []
        if self._attempts is None:
            return started
        with self._pass:
            if not self._lock.acquire():
                return started
            self._forget_what_is_over()
            before, self._seen_failed = self._seen_failed, set()
            for name in self._files.names():
                if self._stopping.is_set() or not self._is_free(name):
                    continue
                try:
                    message = self._due(name, before)
                except DagsterUnreachableError as error:
                    self._note_dagster(error)
                    break  # it would be the same for all the others
                except Exception:  # noqa: BLE001 - one bad file must not hold up the others
                    self._let_rest(name)
                    continue
                if message:
                    started.append(self._start(self._attempts, message))
        return started

    def _forget_what_is_over(self) -> None:
        now = time.monotonic()
        self._under_way = {key: attempt for key, attempt in self._under_way.items() if not attempt.done()}
        for name in [name for name, end in list(self._rests_until.items()) if end <= now]:
            del self._rests_until[name]

    def _is_free(self, name: str) -> bool:
        """Return whether nothing is under way for the request, so that this thread alone has its files."""
        return request_id_in(name) not in self._under_way and name not in self._rests_until

    def _let_rest(self, name: str) -> None:
        """Log what happened, and leave this callback alone for some minutes."""
        _log.exception("The callback %s cannot be delivered.", self._files.folder / name)
        self._rests_until[name] = time.monotonic() + _SECONDS_OF_REST

    def _note_dagster(self, error: DagsterUnreachableError | None) -> None:
        if error and self._dagster_answers:
            _log.warning("Callbacks wait for Dagster: %s", error)
        self._dagster_answers = error is None

    def _due(self, name: str, seen_failed_before: set[str]) -> Message | None:
        """Return the message of a callback, if its request has ended and its next attempt's time has come."""
        pending = self._files.read(name)
        now = time.time()
        # A time that is more than the longest wait away was written while the clock was wrong.
        if pending is None or now < pending.next_attempt <= now + LONGEST_WAIT:
            return None
        request_id = request_id_in(name)
        found = self._find(request_id)
        self._note_dagster(None)
        if found is None or (pending.after and found.run_id == pending.after):
            self._idle(name, pending, now)
            return None
        if pending.idle_since:
            pending = pending.model_copy(update={"idle_since": None})
            self._files.write(name, pending)
        message_id = f"msg_{request_id}_{found.run_id}" if found.run_id else f"msg_{request_id}"
        if not found.is_finished or not self._is_certain(found, message_id, seen_failed_before):
            return None
        return Message(name, pending, message_id, self._body_of(found))

    def _idle(self, name: str, pending: PendingCallback, now: float) -> None:
        """Look again later; after a day, nobody has published the request or launched the re-try."""
        since = pending.idle_since or now
        if now - since > SECONDS_UNTIL_FORGOTTEN:
            self._files.remove(name)
            return
        wait = min(LONGEST_WAIT, max(FIRST_WAIT, now - since))
        self._files.write(name, pending.model_copy(update={"idle_since": since, "next_attempt": now + wait}))

    def _is_certain(self, found: RequestStatus, message_id: str, seen_before: set[str]) -> bool:
        """Return whether an end is final: Dagster may try a failed run again, and says so a moment later."""
        if found.status != FAILED:
            return True
        self._seen_failed.add(message_id)
        return message_id in seen_before

    # -- an attempt

    def _start(self, attempts: Attempts, message: Message) -> _Attempt:
        receiver = urlsplit(message.pending.url).netloc
        attempt = self._pool.submit(receiver, lambda: self._deliver(attempts, message))
        self._under_way[request_id_in(message.name)] = attempt
        return attempt

    def _deliver(self, attempts: Attempts, message: Message) -> Outcome | None:
        """Make one attempt; the outcome is None when `stop` cut it off, or when it could not be made."""
        try:
            outcome = attempts.make(message)
            if outcome:
                self._on_delivered(outcome)
        except Exception:  # noqa: BLE001 - its file is as it was, so it is tried again
            self._let_rest(message.name)
            return None
        return outcome
