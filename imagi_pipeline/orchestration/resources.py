"""What assets and the sensor get: the settings, the storage, and a place for what passes between steps."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import dagster as dg
from pydantic import Field
from upath import UPath

from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.orchestration.run_launcher import hold_run_lock
from imagi_pipeline.settings import Settings, variable


class ImagiResource(dg.ConfigurableResource[Any]):
    """The settings and the storage of this installation, and the sign of life of the run that uses them."""

    overrides: dict[str, str] = Field(
        default={},
        description="Settings that differ from their default (docs/settings.md), by name, as text.",
    )

    @classmethod
    def from_environment(cls) -> Self:
        """Every setting whose environment variable is set, read again at the start of each run."""
        names = [name for name in Settings.model_fields if os.environ.get(variable(name))]
        return cls(overrides={name: dg.EnvVar(variable(name)) for name in names})

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """Hold the run's lock while its process lives, so that run monitoring can tell when it died."""
        instance, run = context.instance, context.run
        with hold_run_lock(instance, run.run_id) if instance and run else nullcontext():
            yield self

    def settings(self) -> Settings:
        """The settings; raises pydantic's ValidationError on a bad value."""
        # In a run Dagster has put the values in; while the definitions load, they are still variables.
        values = {
            name: value.get_value() if isinstance(value, dg.EnvVar) else value
            for name, value in self.overrides.items()
        }
        return Settings(**values)  # type: ignore[arg-type]  # pydantic parses the text

    def store(self) -> Store:
        """The storage."""
        return Store(self.settings().storage)


class ChunkIOManager(dg.ConfigurableIOManager):
    """Hands the outcome of a chunk to the step that collects them, as JSON on the shared storage root.

    Steps may run on other machines, so nothing may pass through a local folder.
    """

    imagi: dg.ResourceDependency[ImagiResource]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep what a step returned, until the report is written."""
        store = self.imagi.store()
        store.write(_place(store, context.partition_key, context), json.dumps(obj).encode())

    def load_input(self, context: dg.InputContext) -> Any:
        """What the step upstream returned."""
        assert context.upstream_output is not None
        store = self.imagi.store()
        data = store.read(_place(store, context.partition_key, context.upstream_output))
        if data is None:
            raise dg.Failure("The outcome of an earlier step is gone. Run the whole job again.")
        return json.loads(data)


def _place(store: Store, request_id: str, output: dg.OutputContext) -> UPath:
    run_id, *parts = output.get_identifier()
    return store.work(request_id) / run_id / ("-".join(parts) + ".json")
