"""Make calls to services that the operator named: Dagster, the gateway, the receiver of alerts.

The environment must not redirect them: with HTTP_PROXY, calls to Dagster on loopback would go to a proxy,
and `~/.netrc` would replace a bearer token.
"""

from __future__ import annotations

import os

import requests


def own_session() -> requests.Session:
    """Return a session that ignores proxies and passwords of the environment, not REQUESTS_CA_BUNDLE."""
    session = requests.Session()
    session.trust_env = False
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    return session
