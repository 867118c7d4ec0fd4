"""What a run must not do in a warm process, counted: connect, make files, load migration scripts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from imagi_pipeline_tests.storages import DAGSTERS_OWN, EMBEDDED

# In a process of its own: a hook of `sys.addaudithook` stays for ever.
RUNS = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from imagi_pipeline.orchestration.instance import open_instance
import dagster as dg

counts = {"connections": 0, "migration scripts": 0}
def count(event, arguments):
    if event == "sqlite3.connect":
        counts["connections"] += 1
    elif event == "open" and "alembic/versions" in str(arguments[0]):
        counts["migration scripts"] += 1
sys.addaudithook(count)

@dg.asset
def thing(): pass

def databases():
    return len(list(Path(os.environ["DAGSTER_HOME"]).rglob("*.db")))

job = dg.Definitions(assets=[thing], jobs=[dg.define_asset_job("job")]).resolve_job_def("job")
found = []
with open_instance(capture_output=False) as instance:
    for _ in range(3):
        before, files = dict(counts), databases()
        job.execute_in_process(instance=instance)
        found.append({name: counts[name] - before[name] for name in counts} | {"files": databases() - files})
    before = dict(counts)
    with open_instance(capture_output=False) as another:
        another.get_runs(limit=1)
    found.append({name: counts[name] - before[name] for name in counts})
print(json.dumps(found))
"""


def counted() -> list[dict[str, int]]:
    done = subprocess.run(
        [sys.executable, "-c", RUNS], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, int]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("storage", [EMBEDDED], indirect=True)
def test_a_run_in_a_warm_process_opens_no_connection_makes_no_file_and_loads_no_migration(
    storage: str,
) -> None:
    *_, warm, another_instance = counted()
    assert warm == {"connections": 0, "migration scripts": 0, "files": 0}
    assert another_instance == {"connections": 0, "migration scripts": 0}


@pytest.mark.parametrize("storage", [DAGSTERS_OWN], indirect=True)
def test_what_is_counted_is_what_dagsters_own_storage_does(storage: str) -> None:
    *_, warm, _ = counted()
    assert warm["connections"] > 20
    assert warm["migration scripts"] > 20
    assert warm["files"] == 1
