"""Read the CSVs that callers hand in: some at a time, each caller in turn, while the caller waits."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect

from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.csv.reader import READ_HERE, CsvReader, ReadingStoppedError
from imagi_pipeline.core.csv.table import CsvFindings

READ_AT_ONCE = 2
"""CSVs that are read at the same time: each takes many times its size in memory, and a whole core."""

SMALL_READ_AT_ONCE = 4
SECONDS_BETWEEN_LOOKS = 0.25


class FairTurns:
    """Gives places to callers in turn: a caller with many waiting calls does not hold up another with one.

    If callers can be told apart, one caller never gets the last place.
    """

    def __init__(self, places: int, *, has_callers: bool) -> None:
        self._free = places
        self._most_of_one = max(1, places - 1) if has_callers else places
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Hold a place for as long as the context lasts."""
        await self._take(caller)
        try:
            yield
        finally:
            self._give_back(caller)

    async def _take(self, caller: str) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(place)
        self._hand_out()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_back(caller)
            else:
                self._forget(caller, place)
            raise

    def _give_back(self, caller: str) -> None:
        self._free += 1
        self._held[caller] -= 1
        self._hand_out()

    def _forget(self, caller: str, place: asyncio.Future[None]) -> None:
        queue = self._waiting.get(caller)
        if queue and place in queue:
            queue.remove(place)
            if not queue:
                del self._waiting[caller]

    def _hand_out(self) -> None:
        for caller in list(self._waiting):
            if not self._free:
                return
            if self._held[caller] >= self._most_of_one:
                continue
            queue = self._waiting.pop(caller)
            place = queue.popleft()
            if queue:  # behind the others
                self._waiting[caller] = queue
            self._free -= 1
            self._held[caller] += 1
            place.set_result(None)


class UploadReader:
    """Reads CSVs in processes of their own, which end when the caller of a CSV has gone."""

    def __init__(self, limits: CsvLimits, *, has_callers: bool) -> None:
        self._reader = CsvReader(limits, READ_AT_ONCE)
        self._turns = FairTurns(READ_AT_ONCE, has_callers=has_callers)
        self._threads = CapacityLimiter(READ_AT_ONCE)
        self._threads_for_small = CapacityLimiter(SMALL_READ_AT_ONCE)

    def close(self) -> None:
        """End the processes."""
        self._reader.close()

    async def read(
        self,
        data: bytes,
        *,
        url_columns: tuple[str, ...],
        base_url: str | None,
        most: int,
        caller: str,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> CsvFindings:
        """Return what is found in a CSV, with at most `most` references and problems.

        Raises CsvError as `CsvReader.read` does, and ClientDisconnect when `is_gone` says so meanwhile.
        """
        stop = threading.Event()
        read = functools.partial(
            self._reader.read, data, url_columns=url_columns, base_url=base_url, most=most, stop=stop
        )
        if len(data) <= READ_HERE:
            return await to_thread.run_sync(read, limiter=self._threads_for_small)
        has_turn = asyncio.Event()
        reading = asyncio.create_task(self._read_in_turn(read, caller, has_turn))
        try:
            while not (await asyncio.wait([reading], timeout=SECONDS_BETWEEN_LOOKS))[0]:
                if await is_gone():
                    raise ClientDisconnect
            found = reading.result()
            assert found is not None  # it was not stopped
            return found
        finally:
            stop.set()  # a process at work is ended within a moment, and its place is free then
            if not has_turn.is_set():
                reading.cancel()
            await asyncio.wait([reading])

    async def _read_in_turn(
        self, read: Callable[[], CsvFindings], caller: str, has_turn: asyncio.Event
    ) -> CsvFindings | None:
        async with self._turns.turn(caller):
            has_turn.set()
            try:
                return await to_thread.run_sync(read, limiter=self._threads)
            except ReadingStoppedError:  # nobody waits for it
                return None
