"""What an exchange over HTTP may take, and which addresses it may reach."""

from __future__ import annotations

from dataclasses import dataclass

from imagi_pipeline.core.http.address_guard import IPNetwork


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """The limits of one attempt to fetch or to post, and of how often an attempt is repeated.

    Times are in seconds. `connect_timeout` is for each address that is dialled, `read_timeout` for each
    piece of an answer, `deadline` for the whole attempt, redirects included. `max_bytes` is the size of an
    answer's body after decompression. `attempts` is how often a download is tried that fails for a transient
    reason; `max_retry_after` is the longest wait that a host may ask for. `allowed_networks` may be dialled
    although they are private.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 20.0
    deadline: float = 60.0
    max_bytes: int = 25_000_000
    attempts: int = 4
    max_retry_after: float = 60.0
    allowed_networks: tuple[IPNetwork, ...] = ()
