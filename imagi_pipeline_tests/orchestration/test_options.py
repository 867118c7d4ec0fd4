"""An image is its URL and what it is made with: what runs of all kinds make of that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from imagi_pipeline.contract import ONLY_FAILED_TAG
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.options import CompressionOptions
from imagi_pipeline.core.storage import keys
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline_tests.image_host import ImageHost, jpeg
from imagi_pipeline_tests.orchestration.conftest import Installation
from imagi_pipeline_tests.records import image_key

LARGE, SMALL = CompressionSettings(), CompressionSettings(longest_side=100)


def csv_of(*urls: str) -> str:
    return "Images\n" + "".join(f"{url}\n" for url in urls)


def run_again(installation: Installation, request_id: str, **tags: str) -> None:
    """Run a request once more, as somebody or something launches it."""
    result = installation.definitions.resolve_job_def("process_csv").execute_in_process(
        instance=installation.instance, partition_key=request_id, tags=tags
    )
    assert result.success


def width(installation: Installation, key: str) -> int | None:
    record = installation.store.read_record(key)
    return record.width if record else None


def output(installation: Installation, request_id: str) -> str:
    return installation.store.result(request_id, "products.csv").read_text()


def test_other_options_are_other_images_and_what_was_delivered_stays(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("a.jpg")
    large = installation.process(csv_of(url))
    chosen = RequestManifest("products.csv", options=CompressionOptions(longest_side=100))
    small = installation.process(csv_of(url), chosen)

    assert (width(installation, image_key(url)), width(installation, image_key(url, SMALL))) == (320, 100)
    assert image_key(url) in output(installation, large.request_id)
    assert image_key(url, SMALL) in output(installation, small.request_id)
    partitions = installation.instance.get_materialized_partitions(dg.AssetKey("compressed_image"))
    assert partitions == {image_key(url), image_key(url, SMALL)}


def test_a_request_keeps_what_it_was_accepted_with_in_a_retry(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = (*image_host.add("a.jpg"), f"{image_host.base}/b.jpg")
    done = installation.process(csv_of(good, bad))
    image_host.files["/b.jpg"] = jpeg(5)
    monkeypatch.setenv("IMAGI_LONGEST_SIDE", "100")
    run_again(installation, done.request_id, **{ONLY_FAILED_TAG: "true"})
    assert (width(installation, image_key(bad)), width(installation, image_key(bad, SMALL))) == (320, None)
    assert image_host.asked["/a.jpg"] == 1


def test_a_request_that_waited_while_the_defaults_changed_gets_those_of_its_acceptance(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    (url,) = image_host.add("a.jpg")
    request_id = installation.upload(csv_of(url), RequestManifest("products.csv").settled(LARGE))
    monkeypatch.setenv("IMAGI_LONGEST_SIDE", "100")
    installation.run(request_id)
    assert width(installation, image_key(url)) == 320


@pytest.mark.parametrize("schedule", ["refresh_images_schedule", "recompress_images_schedule"])
def test_upkeep_renews_images_in_place_with_their_own_options(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    (url,) = image_host.add("a.jpg")
    done = installation.process(csv_of(url))
    old = installation.store.read_record(image_key(url))
    assert old
    installation.store.write_record(image_key(url), replace(old, settings="v2-balanced-q80-same"))
    monkeypatch.setenv("IMAGI_LONGEST_SIDE", "100")
    run_again(installation, done.request_id, **{"dagster/schedule_name": schedule})
    renewed = installation.store.read_record(image_key(url))
    assert renewed
    assert (renewed.settings, renewed.width) == (old.settings, 320)
    assert width(installation, image_key(url, SMALL)) is None


def test_a_whole_run_that_is_asked_for_again_gets_todays_defaults_beside_what_was_chosen(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    (url,) = image_host.add("a.jpg")
    chosen = RequestManifest("products.csv", options=CompressionOptions(quality=60))
    done = installation.process(csv_of(url), chosen)
    monkeypatch.setenv("IMAGI_LONGEST_SIDE", "100")
    monkeypatch.setenv("IMAGI_QUALITY", "90")
    run_again(installation, done.request_id)

    todays = image_key(url, CompressionSettings(quality=60, longest_side=100))
    assert todays in output(installation, done.request_id)
    assert width(installation, image_key(url, CompressionSettings(quality=60))) == 320
    manifest = installation.store.read_manifest(done.request_id)
    assert manifest
    assert (manifest.options, manifest.settings) == (chosen.options, "balanced-q60-same-100px")


def test_images_materialized_from_the_ui_are_made_with_their_own_options(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = (*image_host.add("a.jpg"), f"{image_host.base}/b.jpg")
    installation.process(csv_of(good, bad))
    chosen = RequestManifest("products.csv", options=CompressionOptions(longest_side=100))
    installation.process(csv_of(good, bad), chosen)
    image_host.files["/b.jpg"] = jpeg(5)
    monkeypatch.setenv("IMAGI_LONGEST_SIDE", "50")
    partitions = installation.instance.get_dynamic_partitions("images")
    assert len(partitions) == 4
    result = installation.materialize(
        "compressed_image",
        **{
            "dagster/asset_partition_range_start": partitions[0],
            "dagster/asset_partition_range_end": partitions[-1],
        },
    )
    assert result.success
    assert {key: width(installation, key) for key in partitions} == {
        image_key(good): 320,
        image_key(bad): 320,
        image_key(good, SMALL): 100,
        image_key(bad, SMALL): 100,
    }


def test_a_request_of_a_version_without_options_keeps_its_images_in_a_retry(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, bad = (*image_host.add("a.jpg"), f"{image_host.base}/b.jpg")
    done = installation.process(csv_of(url, bad))
    make_as_of_old_version(installation, done.request_id, url, bad)
    image_host.files["/b.jpg"] = jpeg(5)
    monkeypatch.setenv("IMAGI_LONGEST_SIDE", "100")
    monkeypatch.setenv("IMAGI_REUSE_FOR", "0")
    run_again(installation, done.request_id, **{"dagster/schedule_name": "refresh_images_schedule"})
    assert width(installation, keys.image_key(url, None)) == 320
    assert width(installation, keys.image_key(bad, None)) == 100  # what it would have been is not told
    assert keys.image_key(url, None) in output(installation, done.request_id)


def make_as_of_old_version(installation: Installation, request_id: str, *urls: str) -> None:
    """Turn a request and its images into what a version without options would have left."""
    store = installation.store
    store.write_manifest(request_id, RequestManifest("products.csv"))
    report = store.report(request_id).read_text()
    for url in urls:
        key, old = image_key(url), keys.image_key(url, None)
        report = report.replace(key, old)
        if record := store.read_record(key):
            image = store.image(key, record).read_bytes()
            store.write_image(old, replace(record, file=f"{old}.jpg"), image)
            for file in Path(str(store.image_folder(key))).glob(f"{key}.*"):
                file.unlink()
    store.report(request_id).write_text(report)


def test_metadata_and_report_tell_the_options(installation: Installation, image_host: ImageHost) -> None:
    (url,) = image_host.add("a.jpg")
    chosen = RequestManifest("products.csv", options=CompressionOptions(longest_side=100))
    done = installation.process(csv_of(url), chosen)
    assert installation.metadata("uploaded_csv", done.request_id)["options"] == SMALL.identity
    assert installation.metadata("compressed_image", image_key(url, SMALL))["options"] == SMALL.fingerprint
    assert f",{SMALL.fingerprint}," in installation.store.report(done.request_id).read_text()


def config(**options: object) -> dict[str, object]:
    return {"ops": {"uploaded_csv": {"config": options}}}


def test_the_launchpad_chooses_options_that_count_from_then_on(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("a.jpg")
    chosen = RequestManifest("products.csv", options=CompressionOptions(quality=60))
    done = installation.process(csv_of(url), chosen)
    job = installation.definitions.resolve_job_def("process_csv")
    for run_config in (config(preset="small", longest_side=100), None):
        result = job.execute_in_process(
            instance=installation.instance, partition_key=done.request_id, run_config=run_config
        )
        assert result.success
        settings = CompressionSettings("small", 60, longest_side=100)
        assert image_key(url, settings) in output(installation, done.request_id)
        manifest = installation.store.read_manifest(done.request_id)
        assert manifest
        assert manifest.options == CompressionOptions("small", 60, None, 100)


@pytest.mark.parametrize(
    ("run_config", "words"),
    [
        (config(qualty=60), 'Received unexpected config entry "qualty"'),
        (config(preset="tiny"), "Value at path root:ops:uploaded_csv:config:preset not in enum"),
        (config(longest_side="wide"), "Invalid scalar at path root:ops:uploaded_csv:config:longest_side"),
        ({"resources": {"imagi": {"config": {"overrides": {}}}}}, 'unexpected config entry "overrides"'),
    ],
)
def test_the_launchpad_refuses_what_cannot_be_before_a_run_is_launched(
    installation: Installation, run_config: dict[str, object], words: str
) -> None:
    job = installation.definitions.resolve_job_def("process_csv")
    checked = dg.validate_run_config(job, {})
    assert checked["ops"]["uploaded_csv"]["config"] == {}
    with pytest.raises(dg.DagsterInvalidConfigError) as refused:
        dg.validate_run_config(job, run_config)
    assert words in str(refused.value)


def test_a_number_that_cannot_be_fails_the_run_in_plain_words(
    installation: Installation, image_host: ImageHost
) -> None:
    done = installation.process(csv_of(image_host.add("a.jpg")[0]))
    job = installation.definitions.resolve_job_def("process_csv")
    result = job.execute_in_process(
        instance=installation.instance,
        partition_key=done.request_id,
        run_config=config(quality=101),
        raise_on_error=False,
    )
    (failed,) = result.get_step_failure_events()
    described = str(failed.step_failure_data.user_failure_data)
    assert "quality is a whole number from 1 to 100, not '101'." in described
