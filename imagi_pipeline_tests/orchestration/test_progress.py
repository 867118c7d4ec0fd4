"""The count of a run whose chunks are worked on by several workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest

from imagi_pipeline.contract import PROGRESS_TAG, Figures
from imagi_pipeline.orchestration.instance import open_instance
from imagi_pipeline.orchestration.internals.kept_connections import close_kept_connections
from imagi_pipeline.orchestration.progress import count_images
from imagi_pipeline_tests.storages import POSTGRES

pytestmark = pytest.mark.parametrize("storage", [POSTGRES], indirect=True)


@dg.job
def job() -> None:
    """Do nothing."""


def test_many_writers_lose_no_count_and_count_no_more_than_there_is(storage: str) -> None:
    with open_instance() as instance:
        run = instance.create_run_for_job(job, tags={PROGRESS_TAG: str(Figures(100))})
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: count_images(instance, run.run_id, 1, number % 2), range(80)))
        assert figures(instance, run.run_id) == Figures(100, 80, 40)
        count_images(instance, run.run_id, 30, 0)
        assert figures(instance, run.run_id) == Figures(100, 100, 40)
    close_kept_connections()


def figures(instance: dg.DagsterInstance, run_id: str) -> Figures:
    run = instance.get_run_by_id(run_id)
    assert run
    return Figures.of(run.tags)
