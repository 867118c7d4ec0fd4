from __future__ import annotations

import uuid

import pytest

from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.pending_callbacks import PendingCallback, PendingCallbacks, request_id_in

URL = "https://shop.example/hook"


@pytest.fixture
def callbacks(store: Store) -> PendingCallbacks:
    return PendingCallbacks(store)


def test_a_callback_is_found_again_under_the_id_of_its_request(callbacks: PendingCallbacks) -> None:
    request_id = str(uuid.uuid4())
    pending = PendingCallback(url=URL, created=7.0)
    callbacks.add(request_id, pending)
    assert callbacks.names() == [f"{request_id}.json"]
    assert request_id_in(f"{request_id}.json") == request_id
    assert callbacks.read(f"{request_id}.json") == pending


def test_a_retry_has_a_file_of_its_own(callbacks: PendingCallbacks) -> None:
    request_id = str(uuid.uuid4())
    for after in (None, "run-1"):
        callbacks.add(request_id, PendingCallback(url=URL, created=7.0, after=after))
    assert sorted(callbacks.names()) == [f"{request_id}.json", f"{request_id}.run-1.json"]
    assert {request_id_in(name) for name in callbacks.names()} == {request_id}


def test_a_removed_callback_is_gone(callbacks: PendingCallbacks) -> None:
    name = f"{uuid.uuid4()}.json"
    callbacks.write(name, PendingCallback(url=URL, created=7.0))
    callbacks.remove(name)
    callbacks.remove(name)
    assert callbacks.names() == []
    assert callbacks.read(name) is None


def test_other_files_are_left_alone(callbacks: PendingCallbacks, store: Store) -> None:
    assert callbacks.names() == []  # and there is no folder yet
    store.write(store.callbacks / "notes.json", b"not ours")
    assert callbacks.names() == []


@pytest.mark.parametrize(
    ("request_id", "after"), [("../../x", None), ("b7a4bc5f-57f2-4f4e-9d0a-5a3cf8e6b1d2", "../x")]
)
def test_what_is_no_id_is_refused(callbacks: PendingCallbacks, request_id: str, after: str | None) -> None:
    with pytest.raises(ValueError, match="no ids"):
        callbacks.add(request_id, PendingCallback(url=URL, created=7.0, after=after))
    assert callbacks.names() == []


def test_a_damaged_file_is_an_error_that_does_not_show_the_url(
    callbacks: PendingCallbacks, store: Store
) -> None:
    name = f"{uuid.uuid4()}.json"
    store.write(store.callbacks / name, b'{"url": "https://secret.example/"}')
    with pytest.raises(ValueError, match="created") as caught:
        callbacks.read(name)
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_told(callbacks: PendingCallbacks, store: Store) -> None:
    store.write(store.root / "callbacks", b"a file where the folder should be")
    with pytest.raises(StorageError):
        callbacks.add(str(uuid.uuid4()), PendingCallback(url=URL, created=7.0))
