"""A backup that is taken while a run is under way, as docs/operations.md says, and put back elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.orchestration.instance import open_instance, recent_requests
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.orchestration.conftest import Installation
from imagi_pipeline_tests.running_service import wait_for
from imagi_pipeline_tests.storages import EMBEDDED, POSTGRES, PostgresServer, furnish

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def documented(command: str) -> str:
    """The indented block of docs/operations.md that begins with a command."""
    found = re.search(rf"^    {re.escape(command)}.*\n(?:    .*\n)*", OPERATIONS.read_text(), re.MULTILINE)
    assert found, f"docs/operations.md has no block that begins with {command}"
    return found[0]


def run(script: str, **environment: str) -> None:
    path = f"{Path(sys.executable).parent}:{_postgres_programs()}:{os.environ['PATH']}"
    subprocess.run(
        ["sh", "-euc", script], env=os.environ | environment | {"PATH": path}, check=True, timeout=60
    )


def _postgres_programs() -> str:
    return ":".join(str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.mark.parametrize("storage", [EMBEDDED, POSTGRES], indirect=True)
def test_a_backup_taken_while_it_works_gives_back_every_request_and_image(
    installation: Installation,
    storage: str,
    image_host: ImageHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    backup, home, place = tmp_path / "backup", tmp_path / "restored_home", tmp_path / "restored_storage"
    for folder in (backup, home):
        folder.mkdir()
    done = installation.process("Images\n" + "\n".join(image_host.add("a.jpg", "b.jpg")))
    image_host.delay = 0.3
    urls = image_host.add(*(f"{number}.jpg" for number in range(300)))
    (tmp_path / "second.csv").write_text("Images\n" + "\n".join(urls))
    command = [sys.executable, "-m", "imagi_pipeline", "process", str(tmp_path / "second.csv")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as second:
        wait_for(lambda: len(list(installation.store.compressed.glob("*/*.json"))) > 10)

        if storage == EMBEDDED:
            run(documented("for name in event_log").replace("/backup", str(backup)))
            (home / "database").mkdir()
            for file in backup.iterdir():
                shutil.copy(file, home / "database")
            furnish(home, EMBEDDED)
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            old = installation.instance.event_log_storage.postgres_url  # type: ignore[attr-defined]
            new = server.new_database()
            run(documented("pg_dump").replace("/backup", str(backup)), DATABASE=_for_programs(old))
            run(documented("pg_restore").replace("/backup", str(backup)), DATABASE=_for_programs(new))
            furnish(home, POSTGRES, new)
        shutil.copytree(str(installation.store.root), place)
        assert second.poll() is None
        second.kill()
    image_host.delay = 0.0

    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("IMAGI_STORAGE", str(place))
    with open_instance() as instance:
        restored = Installation(instance, Store(place))
        found = {status.file: status for status in recent_requests(instance, 10)}
        assert found["products.csv"] == done
        assert restored.store.result(done.request_id, "products.csv").exists()
        assert len(instance.get_dynamic_partitions("images")) >= 2
        stored = len(list(restored.store.compressed.glob("*/*.json")))
        again = restored.run(found["second.csv"].request_id)
        assert (again.status, again.images_done, again.images_failed) == ("completed", 300, 0)
        report = restored.metadata("compression_report", again.request_id)
        assert report["reused"] == stored - 2


def _for_programs(url: str) -> str:
    return url.replace("+psycopg2", "")
