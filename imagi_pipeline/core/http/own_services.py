"""Calls to services that the operator named: Dagster, the gateway, the receiver of alerts.

But the environment must not steer them: with HTTP_PROXY a proxy would be asked for Dagster on loopback, and
`~/.netrc` would replace a bearer token.
"""

from __future__ import annotations

import os

import requests


def own_session() -> requests.Session:
    """Return a session without proxies and passwords of the environment; REQUESTS_CA_BUNDLE counts."""
    session = requests.Session()
    session.trust_env = False
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    return session
