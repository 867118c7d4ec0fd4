"""Define the resources that assets and sensors get: the settings and the storage."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import dagster as dg
from pydantic import PrivateAttr

from imagi_pipeline.contract import REQUEST_ID_TAG
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.orchestration.run_launcher import hold_run_lock
from imagi_pipeline.settings import Settings


class ImagiResource(dg.ConfigurableResource[Any]):
    """Gives the settings and the storage of this installation, and shows that the run with them is alive."""

    _settings: Settings | None = PrivateAttr(default=None)

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
            if run and (partition := run.tags.get(REQUEST_ID_TAG)):
                self.store().tell_end(partition)

    def settings(self) -> Settings:
        """Return the settings of the environment, read once; raises ValidationError on a bad value.

        Dagster makes a resource of its own for each run.
        """
        if self._settings is None:
            self._settings = Settings()
        return self._settings

    def store(self) -> Store:
        """Return the storage."""
        return Store(self.settings().storage)


class NothingIsHandedOver(dg.IOManager):
    """Keeps no output: what steps hand to each other lies in the storage, under a name that both know."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep nothing."""

    def load_input(self, context: dg.InputContext) -> Any:
        """Raise NotImplementedError: no step asks for this."""
        raise NotImplementedError
