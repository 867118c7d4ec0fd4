"""The lock of a run in a real PostgreSQL server, held by real processes."""

from __future__ import annotations

import os
import subprocess
import sys

from imagi_pipeline.orchestration.internals.postgres_run_locks import hold_lock, is_held
from imagi_pipeline_tests.running_service import wait_for
from imagi_pipeline_tests.storages import PostgresServer

HOLD = """
import sys, time
from imagi_pipeline.orchestration.internals.postgres_run_locks import hold_lock
with hold_lock(sys.argv[1], "run"):
    time.sleep(60)
"""


def test_a_lock_is_held_until_its_process_is_killed(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    assert not is_held(url, "run")
    with subprocess.Popen([sys.executable, "-c", HOLD, url], env=os.environ) as holder:
        wait_for(lambda: is_held(url, "run"))
        assert not is_held(url, "another run")
        holder.kill()
    wait_for(lambda: not is_held(url, "run"))


def test_several_hold_the_lock_of_one_run_and_the_last_frees_it(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with hold_lock(url, "run"):
        wait_for(lambda: is_held(url, "run"))
        with hold_lock(url, "run"):
            assert is_held(url, "run")
        assert is_held(url, "run")
    wait_for(lambda: not is_held(url, "run"))  # the server frees it when it sees the connection end


def test_a_lock_is_taken_again_after_the_server_was_restarted(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with hold_lock(url, "run"):
        wait_for(lambda: is_held(url, "run"))
        postgres.stop()
        postgres.start()
        assert not is_held(url, "run")
        wait_for(lambda: is_held(url, "run"))
