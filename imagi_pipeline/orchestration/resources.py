"""What assets and the sensor get: the settings and the storage."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import dagster as dg
from pydantic import Field, PrivateAttr

from imagi_pipeline.contract import PARTITION_TAG
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.orchestration.run_launcher import hold_run_lock
from imagi_pipeline.settings import Settings, variable


class ImagiResource(dg.ConfigurableResource[Any]):
    """The settings and the storage of this installation, and the sign of life of the run that uses them."""

    overrides: dict[str, str] = Field(
        default={},
        description="Settings that differ from their default (docs/settings.md), by name, as text.",
    )

    _settings: Settings | None = PrivateAttr(default=None)

    @classmethod
    def from_environment(cls) -> Self:
        """Return every setting whose environment variable is set, read again at the start of each run."""
        names = [name for name in Settings.model_fields if os.environ.get(variable(name))]
        return cls(overrides={name: dg.EnvVar(variable(name)) for name in names})

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """Hold the run's lock while its process lives, so that run monitoring can tell when it died.

        Dagster writes the end of the run right after this, which is told to those who wait for it.
        """
        instance, run = context.instance, context.run
        try:
            with hold_run_lock(instance, run.run_id) if instance and run else nullcontext():
                yield self
        finally:
            if run and (partition := run.tags.get(PARTITION_TAG)):
                self.store().tell_end(partition)

    def settings(self) -> Settings:
        """Return the settings, read once; raises pydantic's ValidationError on a bad value."""
        if self._settings is None:
            # In a run Dagster has put the values in; while the definitions load, they are still variables.
            values = {
                name: value.get_value() if isinstance(value, dg.EnvVar) else value
                for name, value in self.overrides.items()
            }
            self._settings = Settings(**values)  # type: ignore[arg-type]  # pydantic parses the text
        return self._settings

    def store(self) -> Store:
        """Return the storage."""
        return Store(self.settings().storage)


class NothingIsHandedOver(dg.IOManager):
    """Keeps no output: what passes between steps lies in the storage, under a name that both sides know."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep nothing."""

    def load_input(self, context: dg.InputContext) -> Any:
        """Raise NotImplementedError: no step asks for this."""
        raise NotImplementedError
