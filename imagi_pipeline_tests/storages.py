"""The storages that an installation may have: ours, Dagster's own, and PostgreSQL by a real server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

EMBEDDED, DAGSTERS_OWN, POSTGRES = "embedded", "dagster's own", "postgres"

ON_EVERY_STORAGE = pytest.mark.parametrize("storage", [EMBEDDED, DAGSTERS_OWN, POSTGRES], indirect=True)
"""Runs a test that takes the fixture `storage`, itself or by `installation`, with each of them."""

KEPT_POSTGRES = "imagi_pipeline.orchestration.internals.postgres_storage"

_packaged = resources.files("imagi_pipeline.orchestration") / "dagster.yaml"


class PostgresServer:
    """A server on a free port of the loopback interface."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.port = port
        self._count = 0

    def new_database(self) -> str:
        """Return the URL of an empty database."""
        self._count += 1
        name = f"test{self._count}"
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "imagi", name)
        return f"postgresql+psycopg2://imagi@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self._folder} -F"
        self._call("pg_ctl", "-D", str(self._folder / "data"), "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", str(self._folder / "data"), "-w", "-m", "immediate", "stop")

    def make(self) -> None:
        self._call("initdb", "-D", str(self._folder / "data"), "-U", "imagi", "-A", "trust", "-N")

    def _call(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root.
        user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        subprocess.run(
            [_found(program), *arguments],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
            **user,
        )


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """A running server. Skips the test where there is none, but fails it in CI."""
    missing = [name for name, found in _needed().items() if not found]
    if missing:
        reason = f"PostgreSQL cannot be tried without {', '.join(missing)}."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    # Not below the folder of the tests, which nobody but their user can enter.
    with socket.create_server(("127.0.0.1", 0)) as free:
        server = PostgresServer(folder, free.getsockname()[1])
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server.make()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def furnish(home: Path, storage: str, postgres_url: str | None = None) -> None:
    """Put the packaged dagster.yaml into a home, with another storage."""
    home.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_load(_packaged.read_text())
    if storage == DAGSTERS_OWN:
        del settings["storage"]
    elif storage == POSTGRES:
        settings["storage"]["custom"] = {
            "module": KEPT_POSTGRES,
            "class": "KeptPostgresStorage",
            "config": {"postgres_url": postgres_url},
        }
    (home / "dagster.yaml").write_text(yaml.dump(settings))


def _needed() -> dict[str, bool]:
    programs = {name: _found(name) != name for name in ("initdb", "pg_ctl", "createdb")}
    return {"the extra postgres": find_spec("dagster_postgres") is not None, **programs}


def _found(program: str) -> str:
    """Return the path of a program of PostgreSQL; Debian keeps them where no shell looks."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return shutil.which(program) or (str(places[-1]) if places else program)
