"""Post one message to a receiver that somebody else named, on guarded connections and without redirects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.http.client import GuardedClient
from imagi_pipeline.core.http.deadline import Deadline
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline.core.http.retry_after import seconds_to_wait
from imagi_pipeline.core.http.target import Target
from imagi_pipeline.core.http.transfer import Call


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """How a host answered a message: its HTTP status, and the seconds that it asked to wait, if it did."""

    status: int
    retry_after: float | None


class Messenger:
    """Posts messages, many threads at a time."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._client = GuardedClient(limits)

    def close(self) -> None:
        """End every attempt under way, and make no more."""
        self._client.close()

    def post(self, url: str, data: bytes, headers: Mapping[str, str]) -> PostAnswer:
        """Make one attempt to post `data` to `url`; any status is an answer, and no redirect is followed.

        The host may have got the message although this raises FetchError, and it may get it twice.
        """
        try:
            target = Target.of(url)
        except ValueError as error:
            raise FetchError(ErrorCode.INVALID_URL, f"The URL cannot be used: {error}.") from error
        named = {"User-Agent": self._limits.user_agent, "Expect": "", **headers}
        call = Call(target, named, Deadline(self._limits.deadline), lambda _: None, data)
        with self._client.chain() as handle:
            answer = handle.call(call)
        return PostAnswer(answer.status, seconds_to_wait(answer.headers.get("retry-after")))
