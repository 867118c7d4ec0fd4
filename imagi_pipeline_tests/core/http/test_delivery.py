from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_network

import pytest

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.delivery import Messenger
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline_tests.callback_receiver import DRIPS, ENDLESS, HANGS, HANGS_UP, CallbackReceiver

LIMITS = FetchLimits(
    connect_timeout=5, read_timeout=5, deadline=10, allowed_networks=(ip_network("127.0.0.0/8"),)
)


@pytest.fixture
def messenger() -> Iterator[Messenger]:
    with closing(Messenger(LIMITS)) as messenger:
        yield messenger


@pytest.fixture
def guarded() -> Iterator[Messenger]:
    """One that may dial public addresses only."""
    with closing(Messenger(replace(LIMITS, allowed_networks=()))) as messenger:
        yield messenger


@pytest.fixture
def receiver() -> Iterator[CallbackReceiver]:
    with CallbackReceiver() as receiver:
        yield receiver


def post_failure(messenger: Messenger, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        messenger.post(url, b"{}", {})
    return caught.value


def test_a_message_is_posted_as_it_is_with_our_name_in_it(
    receiver: CallbackReceiver, messenger: Messenger
) -> None:
    answer = messenger.post(receiver.url("/in?a=1"), "{é}".encode(), {"Content-Type": "application/json"})
    assert (answer.status, answer.retry_after) == (200, None)
    (message,) = receiver.messages
    assert (message.path, message.body) == ("/in?a=1", "{é}".encode())
    assert message.headers["content-type"] == "application/json"
    assert message.headers["user-agent"].startswith("imagi_pipeline/")


@pytest.mark.parametrize("status", [202, 302, 404, 503])
def test_every_status_is_an_answer_and_no_redirect_is_followed(
    receiver: CallbackReceiver, messenger: Messenger, status: int
) -> None:
    receiver.answers["/in"] = [status]
    receiver.headers = {"Retry-After": "7", "Location": receiver.url("/elsewhere")}
    answer = messenger.post(receiver.url("/in"), b"{}", {})
    assert (answer.status, answer.retry_after) == (status, 7)
    assert [message.path for message in receiver.messages] == ["/in"]


def test_posts_share_a_connection(receiver: CallbackReceiver) -> None:
    with closing(Messenger(LIMITS)) as messenger:
        for _ in range(3):
            messenger.post(receiver.url(), b"{}", {})
    assert len(receiver.messages) == 3
    assert len(receiver.connections) == 1


def test_the_endless_body_of_an_answer_is_not_read(receiver: CallbackReceiver, messenger: Messenger) -> None:
    receiver.answers["/in"] = [ENDLESS]
    assert messenger.post(receiver.url("/in"), b"{}", {}).status == 200


@pytest.mark.parametrize("behaviour", [HANGS, DRIPS])
def test_the_deadline_of_a_post_holds(receiver: CallbackReceiver, behaviour: int) -> None:
    receiver.answers["/in"] = [behaviour]
    with closing(Messenger(replace(LIMITS, deadline=0.3))) as messenger:
        error = post_failure(messenger, receiver.url("/in"))
    assert error.kind is ErrorCode.TIMEOUT


def test_a_post_without_an_answer_is_a_connection_error(
    receiver: CallbackReceiver, messenger: Messenger
) -> None:
    receiver.answers["/in"] = [HANGS_UP]
    assert post_failure(messenger, receiver.url("/in")).kind is ErrorCode.CONNECTION_ERROR


def test_a_post_goes_to_no_address_that_is_not_public(receiver: CallbackReceiver, guarded: Messenger) -> None:
    for host in ("127.0.0.1", "localhost", "0x7f.1"):
        error = post_failure(guarded, receiver.url(host=host))
        assert error.kind is ErrorCode.BLOCKED_ADDRESS
    assert not receiver.connections


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/in", "http://name:word@127.0.0.1/in", "http://", "in"])
def test_a_post_to_an_unusable_url_is_refused(messenger: Messenger, url: str) -> None:
    assert post_failure(messenger, url).kind is ErrorCode.INVALID_URL
