from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from imagi_pipeline.contract import REQUEST_ID_TAG
from imagi_pipeline.core.images.options import CompressionOptions
from imagi_pipeline.core.storage.landing import publish
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.orchestration.sensors import MOST_LAUNCHED_AT_ONCE, landing_folder_sensor
from imagi_pipeline_tests.orchestration.conftest import Installation

LONG_AGO = time.time() - 3600


@pytest.fixture
def landing(installation: Installation) -> Path:
    folder = Path(str(installation.store.landing))
    folder.mkdir(parents=True)
    return folder


def drop(
    landing: Path, name: str, text: str = "Images\nhttp://a/b.jpg\n", changed_at: float = LONG_AGO
) -> Path:
    path = landing / name
    path.write_text(text)
    os.utime(path, (changed_at, changed_at))
    return path


def look(installation: Installation) -> list[dg.RunRequest]:
    """Return one tick; the run requests of it."""
    with dg.build_sensor_context(
        instance=installation.instance, resources={"imagi": installation.resource}
    ) as context:
        result = landing_folder_sensor(context)
    if isinstance(result, dg.SkipReason):
        return []
    assert isinstance(result, dg.SensorResult)
    return list(result.run_requests or [])


def launch(installation: Installation, request: dg.RunRequest) -> None:
    """Make the run that a daemon would make."""
    installation.instance.create_run_for_job(
        job_def=installation.definitions.resolve_job_def("process_csv"),
        tags={REQUEST_ID_TAG: str(request.partition_key), **request.tags},
    )


def test_a_dropped_file_becomes_a_request_with_its_upload(installation: Installation, landing: Path) -> None:
    drop(landing, "shop.csv", "Images\nhttp://a/1.jpg\n")
    (request,) = look(installation)
    assert request.run_key == request.partition_key
    assert request.tags["imagi/file"] == "shop.csv"
    upload = installation.store.uploads / str(request.run_key) / "shop.csv"
    assert upload.read_text() == "Images\nhttp://a/1.jpg\n"


def test_a_request_leaves_the_landing_folder_only_when_its_run_exists(
    installation: Installation, landing: Path
) -> None:
    drop(landing, "shop.csv")
    (request,) = look(installation)
    assert [again.run_key for again in look(installation)] == [request.run_key]
    assert (landing / str(request.run_key) / "shop.csv").exists()

    launch(installation, request)
    assert look(installation) == []
    assert list(landing.iterdir()) == []


def test_a_file_that_changed_just_now_is_left_alone(installation: Installation, landing: Path) -> None:
    path = drop(landing, "shop.csv", changed_at=time.time())
    assert look(installation) == []
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert len(look(installation)) == 1


def test_a_file_that_is_still_open_for_writing_is_left_alone(
    installation: Installation, landing: Path
) -> None:
    path = landing / "shop.csv"
    with path.open("w") as writer:
        writer.write("Images\nhttp://a/1.jpg\n")
        writer.flush()
        os.utime(path, (LONG_AGO, LONG_AGO))
        assert look(installation) == []
        writer.write("http://a/2.jpg\n")
    os.utime(path, (LONG_AGO, LONG_AGO))
    (request,) = look(installation)
    upload = installation.store.uploads / str(request.run_key) / "shop.csv"
    assert upload.read_text().count("http") == 2


def test_a_file_that_grows_between_the_two_looks_is_left_alone(
    installation: Installation, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop(landing, "shop.csv")

    def grow(_: float) -> None:
        with path.open("a") as writer:
            writer.write("http://a/c.jpg\n")
        os.utime(path, (LONG_AGO, LONG_AGO))

    monkeypatch.setattr("imagi_pipeline.core.storage.landing.time.sleep", grow)
    assert look(installation) == []


@pytest.mark.parametrize(
    "name", [".hidden.csv", "~$shop.csv", "shop.csv~", "shop.csv.part", "shop.csv.tmp", "a.CRDOWNLOAD"]
)
def test_unfinished_and_hidden_files_are_ignored(
    installation: Installation, landing: Path, name: str
) -> None:
    drop(landing, name)
    assert look(installation) == []
    assert (landing / name).exists()


def test_two_files_of_one_name_are_two_requests(installation: Installation, landing: Path) -> None:
    drop(landing, "shop.csv", "Images\nhttp://a/1.jpg\n")
    (first,) = look(installation)
    drop(landing, "shop.csv", "Images\nhttp://a/2.jpg\n")
    keys = {request.run_key for request in look(installation)}
    assert len(keys) == 2
    assert first.run_key in keys


def test_the_same_file_dropped_again_is_a_new_request(installation: Installation, landing: Path) -> None:
    drop(landing, "shop.csv")
    (first,) = look(installation)
    launch(installation, first)
    look(installation)
    drop(landing, "shop.csv")
    (second,) = look(installation)
    assert second.run_key != first.run_key


def test_many_files_at_once_are_all_taken(installation: Installation, landing: Path) -> None:
    for number in range(20):
        drop(landing, f"{number}.csv")
    assert len({request.run_key for request in look(installation)}) == 20


def test_a_request_folder_of_the_gateway_keeps_its_id_and_options(
    installation: Installation, landing: Path
) -> None:
    request_id = "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"
    folder = landing / request_id
    folder.mkdir()
    drop(folder, "shop.csv")
    manifest = RequestManifest("shop.csv", ("Images",), "http://a/", options=CompressionOptions(quality=60))
    (folder / "request.json").write_bytes(manifest.to_json())
    (request,) = look(installation)
    assert (request.run_key, request.tags["imagi/settings"]) == (request_id, "v5-balanced-q60-same")
    settled = replace(manifest, settings="balanced-q60-same")
    assert installation.store.read_manifest(request_id) == settled
    launch(installation, request)
    look(installation)
    assert list(landing.iterdir()) == []


def test_an_option_that_cannot_be_holds_up_its_request_alone(
    installation: Installation, landing: Path
) -> None:
    folder = landing / "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"
    folder.mkdir()
    drop(folder, "shop.csv")
    (folder / "request.json").write_text('{"name": "shop.csv", "options": {"qualty": 60}}')
    drop(landing, "other.csv")
    (request,) = look(installation)
    assert request.tags["imagi/file"] == "other.csv"


def test_a_claim_that_was_cut_off_before_its_move_loses_nothing(
    installation: Installation, landing: Path
) -> None:
    (landing / "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77").mkdir()
    drop(landing, "shop.csv")
    assert len(look(installation)) == 1
    assert [path.name for path in landing.iterdir()] != ["shop.csv"]


def test_a_linked_request_folder_is_not_followed(
    installation: Installation, landing: Path, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    drop(private, "secret.csv")
    (landing / "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77").symlink_to(private)
    assert look(installation) == []
    assert (private / "secret.csv").exists()


def break_manifest(folder: Path) -> None:
    (folder / "request.json").write_text("{")


def nest_folder(folder: Path) -> None:
    (folder / "shop.csv").unlink()
    (folder / "folder").mkdir()


@pytest.mark.parametrize("spoil", [break_manifest, nest_folder])
def test_a_request_folder_that_is_broken_holds_up_nothing_else(
    installation: Installation, landing: Path, spoil: Callable[[Path], None]
) -> None:
    folder = landing / "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"
    folder.mkdir()
    drop(folder, "shop.csv")
    spoil(folder)
    drop(landing, "good.csv")
    (request,) = look(installation)
    assert request.tags["imagi/file"] == "good.csv"
    assert folder.exists()


def test_a_link_is_not_followed(installation: Installation, landing: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("Images\nhttp://a/1.jpg\n")
    (landing / "link.csv").symlink_to(tmp_path / "secret")
    drop(landing, "good.csv")
    (request,) = look(installation)
    assert request.tags["imagi/file"] == "good.csv"


def test_a_name_in_another_encoding_is_made_readable(installation: Installation, landing: Path) -> None:
    drop(landing, os.fsdecode(b"caf\xe9.csv"))
    (request,) = look(installation)
    assert request.tags["imagi/file"] == "caf_.csv"


def test_a_manifest_cannot_write_outside_of_the_storage(installation: Installation, landing: Path) -> None:
    folder = landing / "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"
    folder.mkdir()
    drop(folder, "shop.csv")
    (folder / "request.json").write_text('{"name": "../../../escaped.csv"}')
    (request,) = look(installation)
    assert (installation.store.uploads / str(request.run_key) / "escaped.csv").exists()


def test_a_landing_folder_that_does_not_exist_yet_is_made(installation: Installation) -> None:
    assert look(installation) == []
    assert installation.store.landing.is_dir()


def test_a_dropped_object_of_a_bucket_is_the_same_request_until_it_is_gone(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_STORAGE", "memory://imagi-sensor-test")
    monkeypatch.setenv("IMAGI_LANDING_QUIET_PERIOD", "0")
    store = installation.resource.store()
    (store.landing / "shop.csv").write_text("Images\nhttp://a/1.jpg\n")
    (first,) = look(installation)
    (again,) = look(installation)
    assert first.run_key == again.run_key
    launch(installation, first)
    assert look(installation) == []
    assert not (store.landing / "shop.csv").exists()


def test_of_very_many_requests_the_oldest_are_launched_first(
    installation: Installation, landing: Path
) -> None:
    count = MOST_LAUNCHED_AT_ONCE + 5
    for number in range(count):
        manifest = RequestManifest(f"{number}.csv", created=float(number + 1))
        publish(installation.store, str(uuid.uuid4()), manifest, b"Images\nhttp://a/b.jpg\n")
    launched: list[str] = []
    while requests := look(installation):
        assert len(requests) <= MOST_LAUNCHED_AT_ONCE
        for request in requests:
            launch(installation, request)
        launched += [request.tags["imagi/file"] for request in requests]
    assert launched == [f"{number}.csv" for number in range(count)]
    assert not list(landing.iterdir())


def test_a_large_csv_is_told_by_a_tag_that_the_run_queue_limits(
    installation: Installation, landing: Path
) -> None:
    drop(landing, "large.csv", "Images\n" + "http://a/b.jpg\n" * 40_000)
    drop(landing, "small.csv")
    sizes = {request.tags["imagi/file"]: request.tags.get("imagi/size") for request in look(installation)}
    assert sizes == {"large.csv": "large", "small.csv": None}
    limits = installation.instance.get_concurrency_config().run_queue_config
    assert limits
    assert limits.tag_concurrency_limits == [{"key": "imagi/size", "value": "large", "limit": 2}]
    assert limits.max_concurrent_runs > 2
