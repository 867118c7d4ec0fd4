"""Find out whether everything that a request needs is there."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from pathlib import Path

from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.storage.landing import waiting_requests
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.dagster_client import DagsterClient, DagsterUnreachableError

PROBE_BYTES = 65_536
"""The probe has so many bytes, because on a full disk an empty file can still be made."""

SECONDS_TO_WAIT = 900.0
"""A request becomes a run within seconds; with very many at once, within minutes."""


def problems(store: Store, client: DagsterClient) -> list[str]:
    """Return what keeps requests from being processed, each in a sentence; nothing when all is well."""
    return [
        *_storage_problems(store),
        *_home_problems(),
        *_dagster_problems(client),
        *_waiting_problems(store),
    ]


def _storage_problems(store: Store) -> list[str]:
    probe = store.landing / f".{uuid.uuid4().hex}.part"
    try:
        store.write(probe, bytes(PROBE_BYTES))
        probe.unlink(missing_ok=True)
    except (StorageError, OSError) as error:
        return [str(error)]
    return []


def _home_problems() -> list[str]:
    """Find out whether Dagster can write into its home, if that is on this machine.

    The daemon cannot tell: it writes down there, too, that it has a problem.
    """
    home = os.environ.get("DAGSTER_HOME")
    if not home or not Path(home).is_dir():
        return []
    try:
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        return [f"Dagster cannot write into DAGSTER_HOME, {home}: {error.strerror}. Free space there."]
    return []


def _dagster_problems(client: DagsterClient) -> list[str]:
    try:
        return client.health()
    except DagsterUnreachableError as error:
        return [str(error)]


def oldest_wait(store: Store) -> float:
    """Return the seconds for which the oldest request in the landing folder has been waiting for its run."""
    arrivals = [found.created for found in waiting_requests(store) if found.created]
    return max(0.0, time.time() - min(arrivals)) if arrivals else 0.0


def _waiting_problems(store: Store) -> list[str]:
    waited = oldest_wait(store)
    if waited < SECONDS_TO_WAIT:
        return []
    return [f"A request has waited for its run for {waited / 60:.0f} minutes: see the ticks of its sensor."]
