from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect

from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.gateway.csv_reading_turns import FairTurns, UploadReader

HUGE = b"image\n" + b"".join(b"https://a.com/%d.jpg\n" % number for number in range(400_000))


async def _stays() -> bool:
    return False


async def _has_gone() -> bool:
    return True


def _served(places: int, calls: list[str], *, has_callers: bool) -> list[str]:
    """In which order calls get their turn that all wait at the same time, and end one after the other."""

    async def run() -> list[str]:
        turns = FairTurns(places, has_callers=has_callers)
        order: list[str] = []

        async def call(caller: str) -> None:
            async with turns.turn(caller):
                order.append(caller)
                await asyncio.sleep(0)

        await asyncio.gather(*map(call, calls))
        return order

    return asyncio.run(run())


def test_a_caller_with_one_call_does_not_wait_behind_all_calls_of_another() -> None:
    order = _served(1, ["office"] * 5 + ["shop"], has_callers=True)
    assert order.index("shop") <= 2  # behind the one that is read and the one that came before
    assert sorted(order) == ["office"] * 5 + ["shop"]


def test_a_caller_never_holds_the_last_place_where_there_are_others() -> None:
    async def run() -> None:
        turns = FairTurns(2, has_callers=True)
        async with turns.turn("office"):
            second = asyncio.create_task(turns.turn("office").__aenter__())
            await asyncio.sleep(0)
            assert not second.done()
            async with turns.turn("shop"):  # would wait for ever if the office held both
                pass
        await second

    asyncio.run(asyncio.wait_for(run(), 10))


def test_without_callers_all_places_are_used() -> None:
    async def run() -> None:
        turns = FairTurns(2, has_callers=False)
        async with turns.turn(""), turns.turn(""):
            pass

    asyncio.run(asyncio.wait_for(run(), 10))


def test_a_call_that_is_given_up_while_it_waits_holds_no_place() -> None:
    async def run() -> None:
        turns = FairTurns(1, has_callers=False)
        async with turns.turn("a"):
            waiting = asyncio.create_task(turns.turn("b").__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        async with turns.turn("c"):
            pass

    asyncio.run(asyncio.wait_for(run(), 10))


def test_the_reading_for_a_caller_that_has_gone_ends_and_its_place_is_free() -> None:
    async def run() -> None:
        reader = UploadReader(CsvLimits(), has_callers=True)
        try:
            for _ in range(3):
                with pytest.raises(ClientDisconnect):
                    await reader.read(
                        HUGE, url_columns=(), base_url=None, most=0, caller="office", is_gone=_has_gone
                    )
            processes = [worker._process for worker in reader._reader._workers]
            assert all(process is None or process.poll() is not None for process in processes)
            found = await reader.read(
                HUGE, url_columns=(), base_url=None, most=1, caller="office", is_gone=_stays
            )
            assert (found.reference_count, len(found.references)) == (400_000, 1)
        finally:
            reader.close()

    asyncio.run(run())
