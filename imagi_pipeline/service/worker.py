"""Run one of the workers to which the launcher of `dagster.yaml` sends runs."""

from __future__ import annotations

from imagi_pipeline.orchestration.instance import open_instance


def work(processes: int) -> None:
    """Execute so many runs at a time until SIGTERM. Raises OSError if no runs are sent to workers."""
    with open_instance() as instance:
        launcher = instance.run_launcher
    if not hasattr(launcher, "work"):
        raise OSError(
            "The dagster.yaml in DAGSTER_HOME sends no runs to workers: its run_launcher must be "
            "ImagiCeleryRunLauncher, as in deploy/dagster.yaml."
        )
    from imagi_pipeline import definitions  # noqa: F401 - its processes are forked with everything imported

    launcher.work(processes)
