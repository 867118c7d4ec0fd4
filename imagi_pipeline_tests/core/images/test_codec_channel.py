from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from imagi_pipeline.core.images.codec_channel import Channel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def test_messages_arrive_whole(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    Channel(other).send({"detail": "Grüße\n" * 1000})
    assert channel.receive(1) == {"detail": "Grüße\n" * 1000}


@pytest.mark.parametrize("sent", [b"no json\n", b"[1]\n", b"x" * 200_000])
def test_what_is_no_message_is_refused(ends: tuple[Channel, socket.socket], sent: bytes) -> None:
    channel, other = ends
    sender = threading.Thread(target=other.sendall, args=(sent,), daemon=True)
    sender.start()
    with pytest.raises(ValueError, match=r"Expecting|JSON|long"):
        channel.receive(5)


def test_a_message_that_comes_in_drops_does_not_hold_anyone_beyond_the_timeout(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, other = ends
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.05):
            other.send(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    with pytest.raises(TimeoutError):
        channel.receive(0.3)
    ended.set()
    thread.join()


def test_a_closed_end_is_told(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    other.close()
    with pytest.raises((EOFError, OSError)):
        channel.receive(time.monotonic())
