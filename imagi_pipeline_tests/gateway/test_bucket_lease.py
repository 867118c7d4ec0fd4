from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.bucket_lease import MARGIN, SECONDS, BucketLease
from imagi_pipeline_tests.buckets import S3Server


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_of_several_that_ask_at_once_one_has_the_lease_also_when_one_has_run_out(bucket: Store) -> None:
    clock = Clock()
    for _ in range(2):
        leases = [BucketLease(bucket, bucket.callbacks / "lease", clock) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(BucketLease.acquire, leases)).count(True) == 1
        clock.time += SECONDS + MARGIN + 1


def test_a_lease_is_held_while_it_is_renewed_and_passes_on_when_it_is_not(bucket: Store) -> None:
    clock = Clock()
    one, other = (BucketLease(bucket, bucket.callbacks / "lease", clock) for _ in range(2))
    assert one.acquire()
    for _ in range(6):
        clock.time += SECONDS * 0.6
        assert one.acquire()
        assert not other.acquire()
    clock.time += SECONDS + MARGIN + 1
    assert other.acquire()
    assert not one.acquire()
    assert len(bucket.files(bucket.callbacks / "lease")) == 1


def test_a_lease_that_is_given_up_is_free_at_once(bucket: Store) -> None:
    one, other = (BucketLease(bucket, bucket.callbacks / "lease") for _ in range(2))
    assert one.acquire()
    one.release()
    assert other.acquire()


def test_to_hold_a_lease_and_to_wait_for_it_cost_few_calls(bucket: Store, s3: S3Server) -> None:
    one, other = (BucketLease(bucket, bucket.callbacks / "lease") for _ in range(2))
    assert one.acquire()
    assert not other.acquire()
    s3.calls()
    for _ in range(10):
        assert one.acquire()
        assert not other.acquire()
    assert s3.calls() == []
