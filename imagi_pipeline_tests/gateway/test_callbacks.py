from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from imagi_pipeline.core.errors import UrlError
from imagi_pipeline.core.request_status import RequestStatus, Upkeep
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.callback_attempts import LONGEST_WAIT, Outcome
from imagi_pipeline.gateway.callbacks import (
    DELIVERIES_TO_ONE_RECEIVER,
    SECONDS_UNTIL_FORGOTTEN,
    Callbacks,
    CallbacksOffError,
)
from imagi_pipeline.gateway.dagster_client import DagsterUnreachableError
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.callback_receiver import HANGS, HANGS_UP, CallbackReceiver
from imagi_pipeline_tests.running_service import WEBHOOK_SECRET as SECRET
from imagi_pipeline_tests.running_service import wait_for

DOCS = Path(__file__).parents[2] / "docs" / "callbacks.md"

ACCEPTED, REFUSED, FAILED = Outcome.ACCEPTED, Outcome.REFUSED, Outcome.FAILED


def settings(**changes: Any) -> Settings:
    return Settings(**{"webhook_secret": SecretStr(SECRET), **changes})


class Requests:
    """The statuses of requests, as the API would find them."""

    def __init__(self) -> None:
        self.statuses: dict[str, RequestStatus] = {}
        self.asked: Counter[str] = Counter()
        self.dagster_answers = True

    def add(self, status: str = "completed", run_id: str = "run-1") -> str:
        request_id = str(uuid.uuid4())
        self.set(request_id, status, run_id)
        return request_id

    def set(self, request_id: str, status: str, run_id: str = "run-1", upkeep: Upkeep | None = None) -> None:
        file = "preise é 価格.csv"
        self.statuses[request_id] = RequestStatus(
            request_id, status, file=file, run_id=run_id or None, upkeep=upkeep
        )

    def find(self, request_id: str) -> RequestStatus | None:
        self.asked[request_id] += 1
        if not self.dagster_answers:
            raise DagsterUnreachableError("Dagster does not answer at http://127.0.0.1:3000/graphql.")
        return self.statuses.get(request_id)


def body_of(found: RequestStatus) -> str:
    return json.dumps(asdict(found) | {"result_url": None}, ensure_ascii=False)


@pytest.fixture
def known() -> Requests:
    return Requests()


@pytest.fixture
def make(store: Store, known: Requests) -> Iterator[Callable[..., Callbacks]]:
    made: list[Callbacks] = []

    def callbacks(**changes: Any) -> Callbacks:
        made.append(Callbacks(store, settings(**changes), known.find, body_of))
        return made[-1]

    yield callbacks
    for each in made:
        each.stop()


@pytest.fixture
def callbacks(make: Callable[..., Callbacks]) -> Callbacks:
    return make()


def files(store: Store) -> list[Path]:
    return sorted(Path(store.callbacks.path).glob("*.json"))


def pending(store: Store) -> dict[str, Any]:
    """Return what the only file says."""
    (file,) = files(store)
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def change(store: Store, **values: Any) -> None:
    """Let time pass for all that is pending, by making its times earlier."""
    for file in files(store):
        file.write_text(json.dumps(json.loads(file.read_text()) | values))


# What is told, and when


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_the_end_of_a_request_is_told_once_in_a_signed_message(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store, status: str
) -> None:
    request_id = known.add("processing")
    callbacks.register(request_id, receiver.url("/hook?shop=7"))
    assert not callbacks.deliver_due()
    assert callbacks.pending() == 1

    known.set(request_id, status)
    assert callbacks.deliver_due() == {ACCEPTED: 1}
    assert not callbacks.deliver_due()
    assert callbacks.pending() == 0
    assert files(store) == []

    (message,) = receiver.messages
    assert message.path == "/hook?shop=7"
    assert message.verified(SECRET) == json.loads(body_of(known.statuses[request_id]))
    assert message.id == f"msg_{request_id}_run-1"
    assert message.headers["content-type"] == "application/json"
    assert message.headers["user-agent"].startswith("imagi_pipeline/")


def test_a_message_without_a_run_has_an_id_too(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver
) -> None:
    request_id = known.add("cancelled", run_id="")
    callbacks.register(request_id, receiver.url())
    callbacks.deliver_due()
    assert receiver.messages[0].id == f"msg_{request_id}"
    receiver.messages[0].verified(SECRET)


def test_a_failure_is_told_only_when_the_next_pass_sees_it_too(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver
) -> None:
    request_id = known.add("failed")
    callbacks.register(request_id, receiver.url())
    assert not callbacks.deliver_due()
    known.set(request_id, "In queue")  # Dagster tries the run again
    assert not callbacks.deliver_due()
    known.set(request_id, "failed", "run-2")
    assert not callbacks.deliver_due()
    assert callbacks.deliver_due() == {ACCEPTED: 1}
    assert [message.id for message in receiver.messages] == [f"msg_{request_id}_run-2"]


def test_the_loop_delivers_by_itself(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver
) -> None:
    request_id = known.add("completed")
    callbacks.start()
    callbacks.register(request_id, receiver.url())
    assert receiver.wait_for(1)[0].verified(SECRET)["request_id"] == request_id


# Attempts


def test_a_message_comes_again_with_the_same_id_ever_later_until_it_is_accepted(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    request_id = known.add()
    receiver.answers["/hook"] = [HANGS_UP, 500, 404]
    callbacks.register(request_id, receiver.url())
    expected = [(FAILED, 5, "without an answer"), (REFUSED, 10, "500"), (REFUSED, 20, "404")]
    for attempts, (outcome, wait, reason) in enumerate(expected, start=1):
        before = time.time()
        assert callbacks.deliver_due() == {outcome: 1}
        assert not callbacks.deliver_due()  # it is not its time yet
        now = pending(store)
        assert now["attempts"] == attempts
        assert wait <= now["next_attempt"] - before <= 1.5 * wait + 5
        assert reason in now["last_error"]
        change(store, next_attempt=time.time() - 1)
    assert callbacks.deliver_due() == {ACCEPTED: 1}
    assert callbacks.pending() == 0
    assert {message.id for message in receiver.messages} == {f"msg_{request_id}_run-1"}
    assert [message.verified(SECRET)["status"] for message in receiver.messages] == ["completed"] * 4


def test_a_time_that_no_wait_can_explain_is_not_waited_for(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    callbacks.register(known.add(), receiver.url())
    change(store, next_attempt=time.time() + 10 * LONGEST_WAIT)  # the clock was wrong
    assert callbacks.deliver_due() == {ACCEPTED: 1}


def test_each_attempt_is_counted(store: Store, known: Requests, receiver: CallbackReceiver) -> None:
    outcomes: list[Outcome] = []
    callbacks = Callbacks(store, settings(), known.find, body_of, outcomes.append)
    receiver.answers["/hook"] = [HANGS_UP, 500]
    callbacks.register(known.add(), receiver.url())
    for _ in range(3):
        callbacks.deliver_due()
        change(store, next_attempt=0)
    callbacks.stop()
    assert outcomes == [FAILED, REFUSED, ACCEPTED]


# Slow receivers


def test_a_receiver_that_hangs_holds_up_nobody_else(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver
) -> None:
    with CallbackReceiver() as slow:
        slow.answers["/hook"] = [HANGS] * 50
        for _ in range(50):
            callbacks.register(known.add(), slow.url())
        callbacks.start()
        slow.wait_for(DELIVERIES_TO_ONE_RECEIVER)
        for _ in range(20):
            callbacks.register(known.add(), receiver.url())
        receiver.wait_for(20)
        assert len(slow.messages) == DELIVERIES_TO_ONE_RECEIVER
        callbacks.stop()


def test_all_callbacks_of_one_receiver_are_delivered_in_one_pass(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver
) -> None:
    requests = {known.add() for _ in range(100)}
    for request_id in requests:
        callbacks.register(request_id, receiver.url())
    assert callbacks.deliver_due() == {ACCEPTED: 100}
    assert {message.verified(SECRET)["request_id"] for message in receiver.messages} == requests
    assert len(receiver.messages) == 100


def test_a_message_under_way_is_not_sent_a_second_time(
    make: Callable[..., Callbacks], known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    callbacks = make(download_deadline=1)
    receiver.answers["/hook"] = [HANGS]
    callbacks.register(known.add(), receiver.url())
    with_first = threading.Thread(target=callbacks.deliver_due)
    with_first.start()
    receiver.wait_for(1)
    assert not callbacks.deliver_due()
    with_first.join()
    assert len(receiver.messages) == 1
    assert "not done after 1 second" in pending(store)["last_error"]


def test_stopping_does_not_wait_for_a_receiver_nor_count_the_attempt(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    receiver.answers["/hook"] = [HANGS] * 5
    for _ in range(5):
        callbacks.register(known.add(), receiver.url())
    callbacks.start()
    receiver.wait_for(DELIVERIES_TO_ONE_RECEIVER)
    callbacks.stop()
    assert not receiver.stopping.is_set()
    assert [json.loads(file.read_text())["attempts"] for file in files(store)] == [0] * 5


# Restarts


def test_another_gateway_goes_on_where_the_one_before_was(
    make: Callable[..., Callbacks], known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    receiver.answers["/hook"] = [500]
    first = make()
    request_id = known.add()
    first.register(request_id, receiver.url())
    first.deliver_due()
    first.stop()

    second = make()
    assert second.pending() == 1
    assert not second.deliver_due()  # the wait goes on, too
    change(store, next_attempt=0)
    assert second.deliver_due() == {ACCEPTED: 1}
    assert len({message.id for message in receiver.messages}) == 1


GATEWAY = """
import sys, threading
from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.callbacks import Callbacks
from imagi_pipeline.settings import Settings

found, body, url = RequestStatus(sys.argv[1], "completed"), sys.argv[2], sys.argv[3]
settings = Settings()
callbacks = Callbacks(Store(settings.storage), settings, {found.request_id: found}.get, lambda _: body)
callbacks.register(found.request_id, url)
callbacks.start()
threading.Event().wait()
"""


def test_a_gateway_that_is_killed_while_it_delivers_loses_nothing(
    callbacks: Callbacks,
    known: Requests,
    receiver: CallbackReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMAGI_WEBHOOK_SECRET", SECRET)
    receiver.answers["/hook"] = [HANGS]
    request_id = known.add(run_id="")
    arguments = [request_id, body_of(known.statuses[request_id]), receiver.url()]
    with subprocess.Popen([sys.executable, "-c", GATEWAY, *arguments]) as gateway:
        try:
            receiver.wait_for(1)
            assert not callbacks.deliver_due()  # the other one has the lock
        finally:
            gateway.kill()
    assert callbacks.deliver_due() == {ACCEPTED: 1}
    first, second = receiver.messages
    assert first.id == second.id
    assert first.verified(SECRET) == second.verified(SECRET)


def test_of_two_gateways_one_delivers_until_it_ends(
    make: Callable[..., Callbacks], known: Requests, receiver: CallbackReceiver
) -> None:
    one, other = make(), make()
    assert not one.deliver_due()
    other.register(known.add(), receiver.url())
    assert not other.deliver_due()
    assert one.deliver_due() == {ACCEPTED: 1}
    one.stop()
    other.register(known.add(), receiver.url())
    assert other.deliver_due() == {ACCEPTED: 1}
    assert len(receiver.messages) == 2


def test_of_two_gateways_on_a_bucket_one_delivers_until_it_ends(
    bucket: Store, known: Requests, receiver: CallbackReceiver
) -> None:
    one, other = (Callbacks(bucket, settings(), known.find, body_of) for _ in range(2))
    other.register(known.add(), receiver.url())
    assert one.deliver_due() == {ACCEPTED: 1}
    assert not other.deliver_due()
    one.stop()
    other.register(known.add(), receiver.url())
    assert wait_for(other.deliver_due) == {ACCEPTED: 1}
    assert len(receiver.messages) == 2
    other.stop()


# What stands in the way


def test_a_file_that_cannot_be_read_holds_up_no_other_and_is_named_once(
    callbacks: Callbacks,
    known: Requests,
    receiver: CallbackReceiver,
    store: Store,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = Path(store.callbacks.path)
    callbacks.register(known.add(), receiver.url())
    broken = [f"{uuid.uuid4()}.json" for _ in range(3)]
    for name, text in zip(broken, ["{", "[]", '{"url": 7, "created": "x"}'], strict=True):
        (folder / name).write_text(text)
    (folder / "notes.json").write_text("not ours")
    for _ in range(3):
        callbacks.deliver_due()
    assert len(receiver.messages) == 1
    assert [caplog.text.count(name) for name in broken] == [1, 1, 1]
    assert callbacks.pending() == 3
    assert len(files(store)) == 4


def test_a_request_whose_status_cannot_be_told_holds_up_no_other(
    store: Store, known: Requests, receiver: CallbackReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    bad = known.add()

    def find(request_id: str) -> RequestStatus | None:
        if request_id == bad:
            raise ValueError("its manifest is broken")
        return known.find(request_id)

    callbacks = Callbacks(store, settings(), find, body_of)
    for request_id in (bad, known.add(), known.add()):
        callbacks.register(request_id, receiver.url())
    assert callbacks.deliver_due() == {ACCEPTED: 2}
    assert not callbacks.deliver_due()
    assert len(caplog.records) == 1
    assert "its manifest is broken" in caplog.text
    callbacks.stop()


def test_callbacks_wait_for_dagster(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        callbacks.register(known.add(), receiver.url())
    known.dagster_answers = False
    assert not callbacks.deliver_due()
    assert not callbacks.deliver_due()
    assert known.asked.total() == 2  # the others are not asked for in vain
    assert caplog.text.count("Callbacks wait for Dagster") == 1
    known.dagster_answers = True
    assert callbacks.deliver_due() == {ACCEPTED: 3}


def test_a_request_that_was_never_published_is_forgotten_after_a_day(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    request_id = str(uuid.uuid4())
    callbacks.register(request_id, receiver.url())
    for _ in range(3):
        callbacks.deliver_due()
    assert known.asked[request_id] == 1  # and it is not asked for at every pass
    change(store, next_attempt=0, idle_since=time.time() - SECONDS_UNTIL_FORGOTTEN / 2)
    callbacks.deliver_due()
    assert pending(store)["next_attempt"] > time.time() + LONGEST_WAIT / 2
    change(store, next_attempt=0, idle_since=time.time() - SECONDS_UNTIL_FORGOTTEN - 1)
    callbacks.deliver_due()
    assert callbacks.pending() == 0
    assert not receiver.messages


def test_a_callback_is_not_lost_when_its_request_is_unknown_for_a_moment(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    request_id = str(uuid.uuid4())
    callbacks.register(request_id, receiver.url())
    callbacks.deliver_due()  # between registration and publication
    known.set(request_id, "In queue")
    change(store, next_attempt=0, created=time.time() - 3 * SECONDS_UNTIL_FORGOTTEN)
    callbacks.deliver_due()
    assert pending(store)["idle_since"] is None
    del known.statuses[request_id]  # between landing folder and run
    callbacks.deliver_due()
    known.set(request_id, "completed")
    change(store, next_attempt=0)
    assert callbacks.deliver_due() == {ACCEPTED: 1}


# Re-tries


def test_the_end_of_a_retry_is_told_under_another_id(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    request_id = known.add("completed", "run-1")
    callbacks.register(request_id, receiver.url())
    callbacks.deliver_due()

    callbacks.register(request_id, receiver.url(), after="run-1")
    assert not callbacks.deliver_due()  # not launched yet
    known.set(request_id, "processing", "run-2")
    change(store, next_attempt=0)
    assert not callbacks.deliver_due()
    known.set(request_id, "completed", "run-2")
    assert callbacks.deliver_due() == {ACCEPTED: 1}
    assert [message.id for message in receiver.messages] == [
        f"msg_{request_id}_run-1",
        f"msg_{request_id}_run-2",
    ]


def test_the_end_of_a_retry_is_told_when_it_has_ended_and_not_while_the_result_stays(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    request_id = known.add("completed", "run-1")
    callbacks.register(request_id, receiver.url(), after="run-1")
    known.set(request_id, "completed", "run-2", upkeep=Upkeep("retry", "processing"))
    assert not callbacks.deliver_due()
    known.set(request_id, "completed", "run-2", upkeep=Upkeep("retry", "cancelled"))
    assert callbacks.deliver_due() == {ACCEPTED: 1}
    assert [message.id for message in receiver.messages] == [f"msg_{request_id}_run-2"]


def test_a_retry_that_begins_while_the_first_end_is_being_told_is_not_lost(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    request_id = known.add("completed", "run-1")
    callbacks.register(request_id, receiver.url())

    def retry() -> RequestStatus | None:
        callbacks.register(request_id, receiver.url(), after="run-1")
        return known.find(request_id)

    other = Callbacks(store, settings(), lambda _: retry(), body_of)
    other.deliver_due()
    other.stop()
    known.set(request_id, "completed", "run-2")
    change(store, next_attempt=0)
    assert callbacks.deliver_due() == {ACCEPTED: 1}
    assert receiver.messages[-1].id == f"msg_{request_id}_run-2"
    assert callbacks.pending() == 0


def test_a_retry_before_the_first_end_was_accepted_tells_the_last_end(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    receiver.answers["/hook"] = [500]
    request_id = known.add("completed", "run-1")
    callbacks.register(request_id, receiver.url())
    callbacks.deliver_due()
    callbacks.register(request_id, receiver.url(), after="run-1")
    known.set(request_id, "cancelled", "run-2")
    change(store, next_attempt=0)
    for _ in range(3):
        callbacks.deliver_due()
    assert callbacks.pending() == 0
    assert {message.id for message in receiver.messages[1:]} == {f"msg_{request_id}_run-2"}


def test_a_retry_that_was_never_launched_is_forgotten_after_a_day(
    callbacks: Callbacks, known: Requests, receiver: CallbackReceiver, store: Store
) -> None:
    request_id = known.add("completed", "run-1")
    callbacks.register(request_id, receiver.url(), after="run-1")
    callbacks.deliver_due()
    change(store, next_attempt=0, idle_since=time.time() - SECONDS_UNTIL_FORGOTTEN - 1)
    callbacks.deliver_due()
    assert callbacks.pending() == 0
    assert not receiver.messages


# Registration


@pytest.mark.parametrize(
    "url",
    ["", "shop.example/hook", "/hook", "ftp://shop.example/", "http://me:pass@shop.example/", "http://"],
)
def test_what_is_no_url_is_refused(callbacks: Callbacks, url: str) -> None:
    with pytest.raises(UrlError):
        callbacks.register(str(uuid.uuid4()), url)
    assert callbacks.pending() == 0


def test_a_callback_lies_in_the_storage_by_the_id_of_its_request(callbacks: Callbacks, store: Store) -> None:
    request_id = str(uuid.uuid4())
    callbacks.register(request_id, "HTTPS://Shop.example:443/hook")
    assert [file.name for file in files(store)] == [f"{request_id}.json"]
    assert pending(store)["url"] == "https://shop.example/hook"


def test_without_a_key_nothing_is_accepted_and_what_is_pending_stays(
    callbacks: Callbacks,
    store: Store,
    known: Requests,
    receiver: CallbackReceiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    callbacks.register(known.add(), receiver.url())
    without = Callbacks(store, Settings(), known.find, body_of)
    with pytest.raises(CallbacksOffError, match="IMAGI_WEBHOOK_SECRET"):
        without.register(known.add(), receiver.url())
    without.start()
    assert "1 callbacks wait" in caplog.text
    assert not without.deliver_due()
    without.stop()
    assert callbacks.pending() == 1
    assert not receiver.messages


# The documentation


def test_the_receiver_of_the_documentation_verifies_and_deduplicates(
    callbacks: Callbacks,
    known: Requests,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IMAGI_WEBHOOK_SECRET", SECRET)
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, str(DOCS), "exec"), names)
    with ThreadingHTTPServer(("127.0.0.1", 0), names["Receiver"]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/hooks/imagi"
        request_id = known.add()
        for _ in range(2):
            callbacks.register(request_id, url)
            assert callbacks.deliver_due() == {ACCEPTED: 1}
        forger = settings(webhook_secret=SecretStr("whsec_" + base64.b64encode(bytes(32)).decode()))
        callbacks.stop()
        forged = Callbacks(store, forger, known.find, body_of)
        forged.register(request_id, url)
        assert forged.deliver_due() == {REFUSED: 1}
        forged.stop()
        server.shutdown()
        thread.join()
    assert capsys.readouterr().out == f"{request_id} completed None\n"


def test_the_key_that_the_documentation_makes_is_one() -> None:
    (command,) = re.findall(r"python -c '(.*?)'\n", DOCS.read_text())
    made = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert Settings(webhook_secret=SecretStr(made.stdout.strip())).webhook_secret
