from __future__ import annotations

import contextlib
import queue
import threading
import time

from imagi_pipeline.core.http.host_schedule import ATTEMPTS_IN_SILENCE, FIRST_PLACES, Download, HostSchedule


def take(schedule: HostSchedule) -> Download:
    download = schedule.take()
    assert download is not None
    return download


def release(schedule: HostSchedule, download: Download) -> None:
    with schedule.place_of(download):
        pass


def test_hosts_take_turns() -> None:
    urls = [f"http://a/{number}" for number in range(3)] + [f"http://b/{number}" for number in range(3)]
    schedule = HostSchedule(urls, per_host=3, down_after=9)

    assert [take(schedule).host for _ in urls] == ["a", "b", "a", "b", "a", "b"]


def test_no_host_gets_more_downloads_at_once_than_its_limit() -> None:
    schedule = HostSchedule(["http://a/1", "http://a/2", "http://b/1"], per_host=1, down_after=9)
    first, second = take(schedule), take(schedule)
    assert {first.host, second.host} == {"a", "b"}

    waiting = threading.Event()
    taken: list[Download | None] = []

    def take_third() -> None:
        waiting.set()
        taken.append(schedule.take())

    thread = threading.Thread(target=take_third)
    thread.start()
    waiting.wait()
    assert not taken
    release(schedule, first if first.host == "a" else second)
    thread.join(5)
    assert taken[0] is not None
    assert taken[0].url == "http://a/2"


def test_a_download_is_handed_out_again_after_its_delay_and_counts_its_attempts() -> None:
    schedule = HostSchedule(["http://a/1"], per_host=1, down_after=9)
    download = take(schedule)
    release(schedule, download)
    before = time.monotonic()
    schedule.try_again(download, 0.1)

    again = take(schedule)

    assert (again.url, again.attempt) == ("http://a/1", 2)
    assert time.monotonic() - before >= 0.1


def test_all_threads_are_released_when_the_last_image_is_finished() -> None:
    schedule = HostSchedule(["http://a/1"], per_host=1, down_after=9)
    take(schedule)
    threads = [threading.Thread(target=schedule.take) for _ in range(4)]
    for thread in threads:
        thread.start()
    schedule.finished()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


def test_a_host_is_down_once_it_has_been_silent_for_long_enough() -> None:
    schedule = HostSchedule([], per_host=1, down_after=0.05)
    for _ in range(ATTEMPTS_IN_SILENCE):
        schedule.host_failed("a")
    assert not schedule.is_down("a")
    time.sleep(0.06)
    assert not schedule.is_down("a")
    schedule.host_failed("a")
    assert schedule.is_down("a")
    assert not schedule.is_down("b")


def test_a_few_failures_far_apart_are_no_silence() -> None:
    schedule = HostSchedule([], per_host=1, down_after=0.05)
    schedule.host_failed("a")
    time.sleep(0.06)
    schedule.host_failed("a")
    assert not schedule.is_down("a")


def test_a_host_that_answers_now_and_then_is_not_down() -> None:
    schedule = HostSchedule([], per_host=1, down_after=0.05)
    for _ in range(ATTEMPTS_IN_SILENCE):
        schedule.host_failed("a")
    time.sleep(0.06)
    schedule.host_answered("a")
    schedule.host_failed("a")
    assert not schedule.is_down("a")


def test_a_download_that_is_tried_again_goes_before_those_of_other_hosts() -> None:
    schedule = HostSchedule(["http://a/1", "http://b/1", "http://c/1"], per_host=1, down_after=9)
    first = take(schedule)
    schedule.try_again(first, 0)
    release(schedule, first)
    assert take(schedule).url == "http://a/1"


def test_a_download_that_is_tried_again_goes_before_those_not_tried_yet() -> None:
    schedule = HostSchedule(["http://a/1", "http://a/2"], per_host=1, down_after=9)
    first = take(schedule)
    schedule.try_again(first, 0)
    release(schedule, first)
    assert take(schedule).url == "http://a/1"


class Takers:
    """A thread that takes whatever may start; `new` waits until no more does, and returns what did."""

    def __init__(self, schedule: HostSchedule) -> None:
        self._schedule = schedule
        self._taken: queue.SimpleQueue[Download] = queue.SimpleQueue()
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while download := self._schedule.take():
            self._taken.put(download)

    def new(self) -> list[Download]:
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._taken.get(timeout=0.1))
        return found


def served(schedule: HostSchedule, download: Download, *, is_too_slow: bool = True) -> None:
    schedule.host_served(download.host, is_too_slow=is_too_slow)
    release(schedule, download)


def test_a_host_gets_one_more_at_a_time_for_each_image_that_it_serves_up_to_its_limit() -> None:
    schedule = HostSchedule([f"http://a/{number}" for number in range(99)], per_host=40, down_after=9)
    takers = Takers(schedule)
    first = takers.new()
    assert len(first) == FIRST_PLACES == 32
    served(schedule, first[0])
    assert len(takers.new()) == 2
    for download in first[1:9]:
        served(schedule, download)
    assert len(takers.new()) == 8 + 7  # 40 of them are under way


def test_a_host_that_is_fast_enough_gets_no_more() -> None:
    schedule = HostSchedule([f"http://a/{number}" for number in range(99)], per_host=40, down_after=9)
    takers = Takers(schedule)
    for download in takers.new():
        served(schedule, download, is_too_slow=False)
    assert len(takers.new()) == FIRST_PLACES


def test_half_of_the_places_go_once_for_all_downloads_of_an_overloaded_host() -> None:
    schedule = HostSchedule([f"http://a/{number}" for number in range(99)], per_host=40, down_after=9)
    takers = Takers(schedule)
    first = takers.new()
    for download in first:
        schedule.host_overloaded(download)
        release(schedule, download)
    second = takers.new()
    assert len(second) == FIRST_PLACES / 2
    schedule.host_overloaded(second[0])
    for download in second:
        release(schedule, download)
    assert len(takers.new()) == FIRST_PLACES / 4


def test_an_overloaded_host_keeps_one_place() -> None:
    schedule = HostSchedule(["http://a/1", "http://a/2"], per_host=1, down_after=9)
    download = take(schedule)
    schedule.host_overloaded(download)
    release(schedule, download)
    assert take(schedule).url == "http://a/2"


def test_nothing_is_handed_out_after_a_cancel() -> None:
    schedule = HostSchedule(["http://a/1"], per_host=1, down_after=9)
    schedule.cancel()
    assert schedule.take() is None
