"""These limits bound what an exchange over HTTP may take, and which addresses it may reach."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from importlib import metadata

from imagi_pipeline.core.http.address_guard import IPNetwork


@functools.cache
def own_user_agent() -> str:
    """Return the name and version of this project."""
    try:
        version = metadata.version("imagi_pipeline")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        version = "0"
    return f"imagi_pipeline/{version} (+https://github.com/imagi-pipeline)"


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """The limits of one attempt to fetch or to post, and of how often an attempt is repeated.

    Times are in seconds. `connect_timeout` is for each address that is dialled, `read_timeout` for each
    piece of an answer, `deadline` for the whole attempt, redirects included. `max_bytes` is the size of an
    answer's body after decompression. `attempts` is how often a download is tried that fails for a transient
    reason; `max_retry_after` is the longest wait that a host may ask for. `allowed_networks` may be dialled
    although they are private.

    `user_agent` tells a host who asks; `sends_origin_as_referer` tells it that the image was found
    on a page of its own.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 20.0
    deadline: float = 60.0
    max_bytes: int = 25_000_000
    attempts: int = 4
    max_retry_after: float = 60.0
    allowed_networks: tuple[IPNetwork, ...] = ()
    user_agent: str = field(default_factory=own_user_agent)
    sends_origin_as_referer: bool = False
