"""Signed callbacks: whoever gave a callback URL with a request is told how the request ended.

A pending callback is a file of the storage. It is written before its request is published, and removed only
when the receiver has accepted the message or wants no more. How a request ended is looked up here, at the
same place as its status, so no callback depends on a sensor, and none is lost with a process.

    callbacks/<request_id>.json            until the end of the request is told
    callbacks/<request_id>.<run_id>.json   the same after a re-try: this run, the one before it, was told
    callbacks/.lock                        held by the one process that delivers (not in a bucket)

A file is written and removed by the process that delivers, and otherwise only made: a registration never
meets a delivery, also not one by another process. That is why a re-try has a file of its own.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import re
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict
from standardwebhooks import Webhook

from imagi_pipeline.core.csv.urls import normalise
from imagi_pipeline.core.errors import FetchError
from imagi_pipeline.core.http.delivery import Messenger, PostAnswer
from imagi_pipeline.core.request_status import CANCELLED, COMPLETED, FAILED
from imagi_pipeline.core.storage.keys import is_request_id
from imagi_pipeline.core.storage.store import Store, storage_errors, sync_to_disk
from imagi_pipeline.gateway.dagster_client import DagsterUnreachableError
from imagi_pipeline.settings import Settings, variable

SECONDS_TO_ANSWER = 20.0
FIRST_WAIT, LONGEST_WAIT = 5.0, 3600.0
SECONDS_UNTIL_FORGOTTEN = 24 * 3600.0

DELIVERIES_AT_ONCE = 8
DELIVERIES_TO_ONE_RECEIVER = 2

_SECONDS_BETWEEN_PASSES = 2.0
_LONGEST_PAUSE = 60.0
_PAUSE_PER_WORK = 10  # a pass over very many files takes at most a tenth of a core
_SECONDS_OF_REST = 600.0

_ENDS = frozenset({COMPLETED, FAILED, CANCELLED})
_ID_LENGTH = 36
_FILE = re.compile(rf"[0-9a-f-]{{{_ID_LENGTH}}}(?:\.[A-Za-z0-9_-]+)?\.json")
_RUN_ID = re.compile(r"[A-Za-z0-9_-]+")
_GONE = 410

_Document: TypeAlias = Mapping[str, Any]
_random = random.SystemRandom()
_log = logging.getLogger(__name__)


class CallbacksOffError(Exception):
    """There is no key to sign callbacks with."""


class Outcome(StrEnum):
    """What came of an attempt: a 2xx answer, any other answer, none."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"


_Attempt: TypeAlias = Future[Outcome | None]


class PendingCallback(BaseModel):
    """A callback that was not accepted yet; times are seconds since 1970.

    `after` is the run whose end is told already: it waits for that of another one. `idle_since` is the time
    since when there has been no request or run that it could wait for.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)  # a URL may hold a secret

    url: str
    created: float
    after: str | None = None
    attempts: int = 0
    next_attempt: float = 0.0
    last_error: str | None = None
    idle_since: float | None = None


class Callbacks:
    """Delivers the callbacks of one storage, from threads of its own between `start` and `stop`.

    `status_of` gives the document of a request as the API answers it, None when there is no such request, and
    raises DagsterUnreachableError. `on_delivered` is called after each attempt, from any thread.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        status_of: Callable[[str], _Document | None],
        on_delivered: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        secret = settings.webhook_secret
        limits = settings.fetch_limits
        self._webhook = Webhook(secret.get_secret_value()) if secret else None
        self._messenger = Messenger(replace(limits, deadline=min(SECONDS_TO_ANSWER, limits.deadline)))
        self._store = store
        self._folder = store.callbacks
        self._status_of = status_of
        self._on_delivered = on_delivered
        self._lock = _ProcessLock(Path(self._folder.path, ".lock") if store.is_local else None)
        self._pool = _FairPool(DELIVERIES_AT_ONCE, DELIVERIES_TO_ONE_RECEIVER)
        self._pass = threading.Lock()
        self._under_way: dict[str, _Attempt] = {}
        self._rests_until: dict[str, float] = {}
        self._seen_failed: set[str] = set()
        self._dagster_answers = True
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="imagi-callbacks", daemon=True)

    def start(self) -> None:
        """Make a pass every 2 seconds from now on; less often when there is very much to look at."""
        if self._webhook is None and (count := self.pending()):
            _log.warning("%d callbacks wait until %s is set again.", count, variable("webhook_secret"))
        self._thread.start()

    def stop(self) -> None:
        """End the passes and the attempts under way, which count as not made, and let another deliver."""
        self._stopping.set()
        self._messenger.close()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.close()
        self._lock.release()

    def register(self, request_id: str, url: str, *, after: str | None = None) -> None:
        """Have the end of a request told to `url`; it is on the disk when this returns.

        Call it before the request is published. Before a re-try is launched, call it with the newest run as
        `after`, whose end then is none. The same request and `after` again change nothing that matters.

        Raises UrlError, StorageError, CallbacksOffError without a key, ValueError for what is no id.
        """
        if self._webhook is None:
            raise CallbacksOffError(f"Callbacks are off: set {variable('webhook_secret')}, or ask for none.")
        if not is_request_id(request_id) or (after and not _RUN_ID.fullmatch(after)):
            raise ValueError(f"no ids of a request and a run: {request_id!r}, {after!r}")
        now = time.time()
        pending = PendingCallback(url=normalise(url), created=now, after=after)
        path = self._folder / (f"{request_id}.{after}.json" if after else f"{request_id}.json")
        self._write(path.name, pending)
        if self._store.is_local:
            with storage_errors("write", path):
                sync_to_disk(path.path)
                sync_to_disk(path.parent.path)

    def pending(self) -> int:
        """How many callbacks were not accepted yet, those of unfinished requests included."""
        return len(self._names())

    def deliver_due(self) -> Counter[Outcome]:
        """Make one pass and wait for its attempts: how many there were of each outcome."""
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
        if self._webhook is None:
            return started
        with self._pass:
            if not self._lock.acquire():
                return started
            self._forget_what_is_over()
            before, self._seen_failed = self._seen_failed, set()
            for name in self._names():
                if self._stopping.is_set() or not self._is_free(name):
                    continue
                try:
                    message = self._due(name)
                except DagsterUnreachableError as error:
                    self._note_dagster(error)
                    break  # it would be the same for all the others
                except Exception:  # noqa: BLE001 - one bad file must not hold up the others
                    self._let_rest(name)
                    continue
                if message and self._is_certain(message, before):
                    started.append(self._start(message))
        return started

    def _names(self) -> list[str]:
        with storage_errors("list", self._folder):
            try:
                names = [path.name for path in self._folder.iterdir()]
            except (FileNotFoundError, NotADirectoryError):  # none was registered yet
                return []
        return [name for name in names if _FILE.fullmatch(name)]

    def _forget_what_is_over(self) -> None:
        now = time.monotonic()
        self._under_way = {key: attempt for key, attempt in self._under_way.items() if not attempt.done()}
        for name in [name for name, end in list(self._rests_until.items()) if end <= now]:
            del self._rests_until[name]

    def _is_free(self, name: str) -> bool:
        """Whether nothing is under way for the request, so that its files are this thread's for now."""
        return _request_id_in(name) not in self._under_way and name not in self._rests_until

    def _let_rest(self, name: str) -> None:
        """Log what happened, and neither log it nor tire a receiver again for some minutes."""
        _log.exception("The callback %s cannot be delivered.", self._folder / name)
        self._rests_until[name] = time.monotonic() + _SECONDS_OF_REST

    def _note_dagster(self, error: DagsterUnreachableError | None) -> None:
        if error and self._dagster_answers:
            _log.warning("Callbacks wait for Dagster: %s", error)
        self._dagster_answers = error is None

    def _due(self, name: str) -> _Message | None:
        """The message of a callback, if its request has ended and the time of its next attempt has come."""
        request_id = _request_id_in(name)
        data = self._store.read(self._folder / name)
        if data is None:
            return None
        pending = PendingCallback.model_validate_json(data)
        now = time.time()
        if now < pending.next_attempt <= now + LONGEST_WAIT:  # later still: the clock was wrong then
            return None
        document = self._status_of(request_id)
        self._note_dagster(None)
        run_id = _run_id_in(document or {})
        if document is None or (pending.after and run_id == pending.after):
            self._idle(name, pending, now)
            return None
        if pending.idle_since:
            pending = pending.model_copy(update={"idle_since": None})
            self._write(name, pending)
        upkeep = document.get("upkeep") or {"status": document["status"]}
        if document["status"] not in _ENDS or upkeep["status"] not in _ENDS:
            return None
        message_id = f"msg_{request_id}_{run_id}" if run_id else f"msg_{request_id}"
        return _Message(name, pending, message_id, document["status"], json.dumps(document))

    def _idle(self, name: str, pending: PendingCallback, now: float) -> None:
        """Look again later; after a day, nobody has published the request or launched the re-try."""
        since = pending.idle_since or now
        if now - since > SECONDS_UNTIL_FORGOTTEN:
            self._remove(name)
            return
        wait = min(LONGEST_WAIT, max(FIRST_WAIT, now - since))
        self._write(name, pending.model_copy(update={"idle_since": since, "next_attempt": now + wait}))

    def _is_certain(self, message: _Message, seen_before: set[str]) -> bool:
        """A run that failed is tried again by Dagster at times, which says so a moment after the failure."""
        if message.status != FAILED:
            return True
        self._seen_failed.add(message.id)
        return message.id in seen_before

    # -- an attempt

    def _start(self, message: _Message) -> _Attempt:
        receiver = urlsplit(message.pending.url).netloc
        attempt = self._pool.submit(receiver, lambda: self._deliver(message))
        self._under_way[_request_id_in(message.name)] = attempt
        return attempt

    def _deliver(self, message: _Message) -> Outcome | None:
        """One attempt, with all that follows from it; None when it was cut off by `stop`."""
        try:
            outcome = self._attempt(message)
            if outcome:
                self._on_delivered(outcome)
        except Exception:  # noqa: BLE001 - its file is as it was, so it is tried again
            self._let_rest(message.name)
            return None
        return outcome

    def _attempt(self, message: _Message) -> Outcome | None:
        try:
            answer = self._post(message)
        except FetchError as error:
            if self._stopping.is_set():
                return None
            self._put_off(message, error.detail, error.retry_after)
            return Outcome.FAILED
        if 200 <= answer.status < 300:
            self._remove(message.name)
            return Outcome.ACCEPTED
        if answer.status == _GONE:
            _log.warning("The receiver of %s wants no more callbacks (410).", message.id)
            self._remove(message.name)
        else:
            self._put_off(message, f"The receiver answered {answer.status}.", answer.retry_after)
        return Outcome.REFUSED

    def _post(self, message: _Message) -> PostAnswer:
        assert self._webhook
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message.id, now, message.body),
        }
        return self._messenger.post(message.pending.url, message.body.encode(), headers)

    def _put_off(self, message: _Message, reason: str, retry_after: float | None) -> None:
        attempts = message.pending.attempts + 1
        wait = wait_before_next(attempts, retry_after)
        _log.warning(
            "%s was not accepted, attempt %d: %s Next in %.0f s.", message.id, attempts, reason, wait
        )
        self._write(
            message.name,
            message.pending.model_copy(
                update={"attempts": attempts, "next_attempt": time.time() + wait, "last_error": reason}
            ),
        )

    # -- files

    def _write(self, name: str, pending: PendingCallback) -> None:
        self._store.write(self._folder / name, pending.model_dump_json(indent=1).encode())

    def _remove(self, name: str) -> None:
        path = self._folder / name
        with storage_errors("remove", path):
            path.unlink(missing_ok=True)


def wait_before_next(attempts: int, retry_after: float | None) -> float:
    """Seconds until the next attempt, once `attempts` were not accepted: 5, doubled each time, or as asked.

    Up to half as much more is added, so that callbacks do not come back together; an hour at the most.
    """
    doubled = FIRST_WAIT * 2.0 ** min(attempts - 1, 10)  # 2.0 ** 2000 is too large for a float
    wait = min(doubled, LONGEST_WAIT / 1.5) * _random.uniform(1, 1.5)
    return min(LONGEST_WAIT, max(wait, retry_after or 0.0))


@dataclass(frozen=True, slots=True)
class _Message:
    """What is to be sent for the callback in the file `name`: the same `id` in every attempt for one run."""

    name: str
    pending: PendingCallback
    id: str
    status: str
    body: str


def _request_id_in(name: str) -> str:
    return name[:_ID_LENGTH]


def _run_id_in(document: _Document) -> str:
    """The run that a document tells of; empty for a request that has none."""
    return str(document.get("run_url") or "").rpartition("/")[2]


class _ProcessLock:
    """Held by one process at a time; the kernel frees it however that ends. Without a path, all have it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Whether this object has the lock, now or already."""
        if self._path is None or self._handle is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError as error:  # a file system without locks: better twice than never
            _log.warning("Nothing keeps a second gateway from delivering callbacks too: %s", error)
        self._handle = handle
        return True

    def release(self) -> None:
        """Let another one have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class _FairPool:
    """Threads for jobs in lanes: a lane takes at most `per_lane` of them at a time, and lanes take turns."""

    def __init__(self, threads: int, per_lane: int) -> None:
        self._per_lane = per_lane
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="imagi-callback")
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[_Attempt, Callable[[], Outcome | None]]]] = defaultdict(deque)
        self._turns: Counter[str] = Counter()

    def submit(self, lane: str, job: Callable[[], Outcome | None]) -> _Attempt:
        """Have a job done in its turn. It must not raise."""
        attempt = _Attempt()
        with self._lock:
            self._waiting[lane].append((attempt, job))
            if self._turns[lane] < self._per_lane:
                self._turns[lane] += 1
                self._threads.submit(self._take_turn, lane)
        return attempt

    def close(self) -> None:
        """Drop the jobs that were not begun, and wait for the others."""
        with self._lock:
            for lane in self._waiting.values():
                for attempt, _ in lane:
                    attempt.cancel()
                lane.clear()
        self._threads.shutdown()

    def _take_turn(self, lane: str) -> None:
        with self._lock:
            taken = self._waiting[lane].popleft() if self._waiting[lane] else None
        if taken:
            attempt, job = taken
            attempt.set_result(job())
        with self._lock:
            if self._waiting[lane]:  # at the end of the queue, behind the other lanes
                self._threads.submit(self._take_turn, lane)
                return
            self._turns[lane] -= 1
            if not self._turns[lane]:
                del self._turns[lane], self._waiting[lane]
