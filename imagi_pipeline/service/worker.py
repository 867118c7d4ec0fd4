"""Run one of the workers to which the launcher of `dagster.yaml` sends runs."""

from __future__ import annotations

from typing import Any

from imagi_pipeline.orchestration.instance import open_instance


def work(processes: int, *, chunks: bool) -> None:
    """Execute so many runs, or chunks of large ones, at a time until SIGTERM.

    Raises OSError if none are sent to workers.
    """
    with open_instance() as instance:
        launcher: Any = instance.run_launcher
    if not hasattr(launcher, "work"):
        raise OSError(
            "The dagster.yaml in DAGSTER_HOME sends no runs to workers: its run_launcher must be "
            "ImagiCeleryRunLauncher, as in deploy/dagster.yaml."
        )
    worker = launcher.executor() if chunks else launcher
    if worker is None:
        raise OSError(
            "The dagster.yaml in DAGSTER_HOME sends no chunks to workers: its run_launcher must have "
            "spread_chunks: true, as in deploy/dagster.yaml."
        )
    from imagi_pipeline import definitions  # noqa: F401 - its processes are forked with everything imported

    worker.work(processes)
