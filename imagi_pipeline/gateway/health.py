"""Whether everything that a request needs is there."""

from __future__ import annotations

import uuid

from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.store import Store
from imagi_pipeline.gateway.dagster_client import DagsterClient, DagsterUnreachableError


def problems(store: Store, client: DagsterClient) -> list[str]:
    """What keeps requests from being processed, each in a sentence; nothing when all is well."""
    return [*_storage_problems(store), *_dagster_problems(client)]


def _storage_problems(store: Store) -> list[str]:
    probe = store.landing / f".{uuid.uuid4().hex}.part"
    try:
        store.write(probe, b"")
        probe.unlink(missing_ok=True)
    except (StorageError, OSError) as error:
        return [str(error)]
    return []


def _dagster_problems(client: DagsterClient) -> list[str]:
    try:
        return client.health()
    except DagsterUnreachableError as error:
        return [str(error)]
