"""A real installation: an instance with the packaged dagster.yaml, and a storage, in a test's own folders."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.definitions import build_definitions
from imagi_pipeline.orchestration.instance import open_instance, request_status
from imagi_pipeline.orchestration.local_run import run_request
from imagi_pipeline.orchestration.resources import ImagiResource


@dataclass
class Installation:
    instance: dg.DagsterInstance
    store: Store

    @property
    def resource(self) -> ImagiResource:
        return ImagiResource()

    @property
    def definitions(self) -> dg.Definitions:
        return build_definitions(self.resource)

    def upload(self, data: str | bytes, manifest: RequestManifest | None = None) -> str:
        """Put a CSV where the sensor would; its request id."""
        request_id = str(uuid.uuid4())
        content = data.encode() if isinstance(data, str) else data
        manifest = manifest or RequestManifest("products.csv")
        if manifest.settings is None:
            manifest = manifest.settled(self.resource.settings().compression)
        self.store.write_upload(request_id, manifest, content)
        return request_id

    def process(self, data: str | bytes, manifest: RequestManifest | None = None) -> RequestStatus:
        """Run the whole job on a CSV."""
        manifest = manifest or RequestManifest("products.csv")
        return self.run(self.upload(data, manifest), manifest)

    def run(self, request_id: str, manifest: RequestManifest | None = None) -> RequestStatus:
        run_request(self.definitions, self.instance, request_id, manifest or RequestManifest("products.csv"))
        found = request_status(self.instance, request_id)
        assert found is not None
        return found

    def materialize(self, asset: str, **tags: str) -> dg.ExecuteInProcessResult:
        """Materialize one asset as the UI does."""
        key = dg.AssetKey(asset)
        job = self.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
        return job.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            partition_key=tags.pop("partition", None),
            tags=tags,
        )

    def metadata(self, asset: str, partition: str) -> dict[str, object]:
        """Return the metadata of the newest materialization of a partition."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
        ).records
        assert records
        assert records[0].asset_materialization
        return {name: value.value for name, value in records[0].asset_materialization.metadata.items()}


@pytest.fixture
def installation(store: Store, storage: str) -> Iterator[Installation]:
    with open_instance() as instance:
        yield Installation(instance, store)
