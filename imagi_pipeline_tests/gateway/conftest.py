"""What tests of the gateway share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imagi_pipeline_tests.callback_receiver import CallbackReceiver


@pytest.fixture
def receiver() -> Iterator[CallbackReceiver]:
    with CallbackReceiver() as receiver:
        yield receiver
