from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.callback_attempts import (
    LONGEST_WAIT,
    Attempts,
    Message,
    Outcome,
    wait_before_next,
)
from imagi_pipeline.gateway.pending_callbacks import PendingCallback, PendingCallbacks
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.callback_receiver import HANGS, HANGS_UP, CallbackReceiver
from imagi_pipeline_tests.running_service import WEBHOOK_SECRET as SECRET


@pytest.fixture
def callbacks(store: Store) -> PendingCallbacks:
    return PendingCallbacks(store)


@pytest.fixture
def attempts(callbacks: PendingCallbacks) -> Iterator[Attempts]:
    attempts = Attempts(SECRET, Settings().fetch_limits, callbacks)
    yield attempts
    attempts.close()


@pytest.fixture
def message(callbacks: PendingCallbacks) -> Callable[[str], Message]:
    """Makes the message of a callback that is pending for a URL."""

    def make(url: str) -> Message:
        name = f"{uuid.uuid4()}.json"
        pending = PendingCallback(url=url, created=time.time())
        callbacks.write(name, pending)
        return Message(name, pending, "msg_1", '{"status": "completed"}')

    return make


def test_a_message_is_signed_and_its_callback_is_over_when_it_is_accepted(
    attempts: Attempts,
    callbacks: PendingCallbacks,
    message: Callable[[str], Message],
    receiver: CallbackReceiver,
) -> None:
    assert attempts.make(message(receiver.url("/hook?shop=7"))) is Outcome.ACCEPTED
    (received,) = receiver.messages
    assert received.path == "/hook?shop=7"
    assert received.id == "msg_1"
    assert received.verified(SECRET) == {"status": "completed"}
    assert callbacks.names() == []


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (HANGS_UP, Outcome.FAILED, "without an answer"),
        (500, Outcome.REFUSED, "The receiver answered 500."),
        (404, Outcome.REFUSED, "The receiver answered 404."),
    ],
)
def test_a_message_that_is_not_accepted_is_put_off(
    attempts: Attempts,
    callbacks: PendingCallbacks,
    message: Callable[[str], Message],
    receiver: CallbackReceiver,
    answer: int,
    outcome: Outcome,
    reason: str,
) -> None:
    receiver.answers["/hook"] = [answer]
    sent, before = message(receiver.url()), time.time()
    assert attempts.make(sent) is outcome
    pending = callbacks.read(sent.name)
    assert pending
    assert pending.attempts == 1
    assert pending.last_error
    assert reason in pending.last_error
    assert pending.next_attempt >= before + 5


@pytest.mark.parametrize(("asked", "given"), [("1800", 1800), ("86400", LONGEST_WAIT)])
def test_a_receiver_may_ask_for_time_up_to_an_hour(
    attempts: Attempts,
    callbacks: PendingCallbacks,
    message: Callable[[str], Message],
    receiver: CallbackReceiver,
    asked: str,
    given: float,
) -> None:
    receiver.answers["/hook"] = [503]
    receiver.headers = {"Retry-After": asked}
    sent, before = message(receiver.url()), time.time()
    attempts.make(sent)
    pending = callbacks.read(sent.name)
    assert pending
    assert before + given <= pending.next_attempt <= time.time() + given


def test_waits_double_up_to_an_hour_and_are_spread() -> None:
    for attempts, wait in [(1, 5), (2, 10), (5, 80), (10, 2400), (10_000, 2400)]:
        waits = [wait_before_next(attempts, None) for _ in range(200)]
        assert wait <= min(waits) < max(waits) <= min(1.5 * wait, LONGEST_WAIT)


def test_gone_ends_a_callback(
    attempts: Attempts,
    callbacks: PendingCallbacks,
    message: Callable[[str], Message],
    receiver: CallbackReceiver,
) -> None:
    receiver.answers["/hook"] = [410]
    assert attempts.make(message(receiver.url())) is Outcome.REFUSED
    assert callbacks.names() == []


def test_a_redirect_is_no_acceptance_and_not_followed(
    attempts: Attempts,
    callbacks: PendingCallbacks,
    message: Callable[[str], Message],
    receiver: CallbackReceiver,
) -> None:
    receiver.answers["/hook"] = [307]
    receiver.headers = {"Location": receiver.url("/elsewhere")}
    sent = message(receiver.url())
    assert attempts.make(sent) is Outcome.REFUSED
    assert [received.path for received in receiver.messages] == ["/hook"]
    assert callbacks.names() == [sent.name]


def test_an_address_that_is_not_public_is_never_dialled(
    callbacks: PendingCallbacks, message: Callable[[str], Message], receiver: CallbackReceiver
) -> None:
    attempts = Attempts(SECRET, replace(Settings().fetch_limits, allowed_networks=()), callbacks)
    sent = message(receiver.url(host="localhost"))
    assert attempts.make(sent) is Outcome.FAILED
    pending = callbacks.read(sent.name)
    assert pending
    assert "no public address" in str(pending.last_error)
    assert not receiver.connections
    attempts.close()


def test_an_attempt_that_closing_cuts_off_does_not_count(
    attempts: Attempts,
    callbacks: PendingCallbacks,
    message: Callable[[str], Message],
    receiver: CallbackReceiver,
) -> None:
    receiver.answers["/hook"] = [HANGS]
    sent, outcomes = message(receiver.url()), list[Outcome | None]()
    thread = threading.Thread(target=lambda: outcomes.append(attempts.make(sent)))
    thread.start()
    receiver.wait_for(1)
    attempts.close()
    thread.join()
    assert outcomes == [None]
    assert callbacks.read(sent.name) == sent.pending
