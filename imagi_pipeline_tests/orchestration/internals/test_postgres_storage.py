"""PostgreSQL with connections that are kept, on a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log import SqlEventLogStorage

from imagi_pipeline.orchestration.instance import open_instance
from imagi_pipeline.orchestration.internals.kept_connections import close_kept_connections
from imagi_pipeline_tests.storages import POSTGRES, PostgresServer

pytestmark = pytest.mark.parametrize("storage", [POSTGRES], indirect=True)


@pytest.fixture
def instance(storage: str) -> Iterator[dg.DagsterInstance]:
    with open_instance() as instance:
        yield instance
    close_kept_connections()


def report(instance: dg.DagsterInstance, count: int = 1) -> None:
    for _ in range(count):
        instance.report_runless_asset_event(dg.AssetMaterialization("thing"))


def materializations(instance: dg.DagsterInstance) -> int:
    return len(instance.fetch_materializations(dg.AssetKey("thing"), limit=1000).records)


def sessions(instance: dg.DagsterInstance) -> set[int]:
    """Return the processes of the server that work for connections to this database."""
    log = instance.event_log_storage
    assert isinstance(log, SqlEventLogStorage)
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND client_port IS NOT NULL"
    with log.index_connection() as connection:
        return set(connection.execute(sa.text(query)).scalars())


def test_events_and_instances_of_a_process_share_connections_that_are_kept(
    instance: dg.DagsterInstance,
) -> None:
    report(instance)
    warm = sessions(instance)
    report(instance, 20)
    with open_instance() as another:
        report(another)
        assert sessions(another) == warm
    assert sessions(instance) == warm
    assert len(warm) <= 3
    assert materializations(instance) == 22


def test_a_server_that_restarts_loses_nothing_and_is_found_again(
    instance: dg.DagsterInstance, postgres: PostgresServer
) -> None:
    report(instance, 3)
    postgres.stop()
    postgres.start()
    report(instance)
    assert materializations(instance) == 4


def test_a_forked_child_opens_its_own_connection_and_leaves_those_of_its_parent(
    instance: dg.DagsterInstance,
) -> None:
    report(instance)
    of_parent = sessions(instance)
    child = os.fork()
    if child == 0:
        has_own = False
        try:
            report(instance)
            has_own = sessions(instance) > of_parent
        finally:
            os._exit(0 if has_own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sessions(instance) >= of_parent
    assert materializations(instance) == 2


def test_the_web_server_keeps_its_limit_for_slow_statements(instance: dg.DagsterInstance) -> None:
    instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
    log = instance.event_log_storage
    assert isinstance(log, SqlEventLogStorage)
    with log.index_connection() as connection:
        assert connection.execute(sa.text("SHOW statement_timeout")).scalar_one() == "15s"


def test_the_connections_of_the_web_server_outlive_a_restart(
    instance: dg.DagsterInstance, postgres: PostgresServer
) -> None:
    instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
    assert instance.get_runs() == []
    postgres.stop()
    postgres.start()
    assert instance.get_runs() == []
