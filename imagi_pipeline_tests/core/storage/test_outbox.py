from __future__ import annotations

import pytest

from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.outbox import deliver
from imagi_pipeline.core.storage.store import Store

ONE, TWO = "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77", "1c8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"


@pytest.fixture(autouse=True)
def requests(store: Store) -> None:
    for request_id in (ONE, TWO):
        store.write_upload(request_id, RequestManifest("shoes.csv"), b"x")


def deliver_texts(store: Store, request_id: str, **texts: str) -> dict[str, str]:
    """Deliver `<name>.csv` files; what is in the outbox then."""
    deliver(store, request_id, {f"{name}.csv": [text.encode()] for name, text in texts.items()})
    return {path.name: path.read_text() for path in store.outbox.iterdir()}


def test_requests_of_one_name_stay_apart(store: Store) -> None:
    assert deliver_texts(store, ONE, shoes="1") == {"shoes.csv": "1"}
    assert deliver_texts(store, TWO, shoes="2") == {"shoes.csv": "1", "shoes_1c8e7a54.csv": "2"}


def test_a_better_result_takes_the_place_of_the_one_before(store: Store) -> None:
    deliver_texts(store, TWO, shoes="2")
    deliver_texts(store, ONE, shoes="1", shoes_failures="row")
    assert deliver_texts(store, ONE, shoes="better") == {"shoes.csv": "2", "shoes_0b8e7a54.csv": "better"}


def test_what_was_taken_away_does_not_come_again_unless_it_is_new(store: Store) -> None:
    deliver_texts(store, ONE, shoes="1")
    (store.outbox / "shoes.csv").unlink()
    assert deliver_texts(store, ONE, shoes="1") == {}
    assert deliver_texts(store, ONE, shoes="better") == {"shoes.csv": "better"}


def test_what_somebody_changed_is_left_alone(store: Store) -> None:
    deliver_texts(store, ONE, shoes="1")
    (store.outbox / "shoes.csv").write_text("mine")
    assert deliver_texts(store, ONE, shoes="better") == {
        "shoes.csv": "mine",
        "shoes_0b8e7a54.csv": "better",
    }


def test_a_delivery_that_was_interrupted_is_gone_on_with(store: Store) -> None:
    deliver_texts(store, ONE, shoes="1")
    (store.uploads / ONE / "outbox.json").unlink()  # the last that is written
    assert deliver_texts(store, ONE, shoes="1", shoes_failures="row") == {
        "shoes.csv": "1",
        "shoes_failures.csv": "row",
    }
