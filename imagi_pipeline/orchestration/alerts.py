"""Tell operators what went wrong: by one structured line in the log, and a POST to IMAGI_ALERT_URL.

They hear of a request or a purge that failed, and of a landing folder whose files nobody takes.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from imagi_pipeline.core.printable import printable
from imagi_pipeline.orchestration.resources import ImagiResource

SECONDS_TO_ANSWER = 10.0
SECONDS_TO_WAIT = 300.0

_log = logging.getLogger(__name__)


@dataclass
class Watch:
    """What was reported last, and since when, in seconds since 1970, every look has found waiting files.

    A file may be old when it comes, copied with its time: one look does not tell how long it has been there.
    """

    reported: bool | None = None
    waits_since: float | None = None

    def look(self, *, passed: bool, now: float) -> bool | None:
        """Return what is to be reported, if anything."""
        self.waits_since = None if passed else self.waits_since or now
        too_long = self.waits_since is not None and now - self.waits_since >= SECONDS_TO_WAIT
        is_new = self.reported is not passed and (passed or too_long)
        if is_new:
            self.reported = passed
        return passed if is_new else None


def tell(alert: Mapping[str, str | None], imagi: ImagiResource) -> None:
    """Log an alert, and post it to IMAGI_ALERT_URL if that is set; its receiver may be down."""
    line = json.dumps(alert, ensure_ascii=False)
    _log.error("%s", line)
    if url := imagi.settings().alert_url:
        _post(url, line)


def _post(url: str, line: str) -> None:
    """Post without the guard of the fetcher: this URL is the operator's own, mostly in a private network.

    Its path may be a secret, so it is not logged, and no redirect takes it or the alert to another host.
    """
    import requests  # here, since every command loads this module and nearly none has an alert to send

    from imagi_pipeline.core.http.own_services import own_session

    headers = {"Content-Type": "application/json"}
    try:
        with own_session() as session:
            answer = session.post(
                url, line.encode(), headers=headers, timeout=SECONDS_TO_ANSWER, allow_redirects=False
            )
    except (requests.RequestException, ValueError) as error:
        reason = type(error).__name__
    else:
        if answer.status_code < 300:
            return
        reason = f"its receiver answered {answer.status_code}"
    _log.warning("The alert could not be sent to %s: %s.", _host_of(url), reason)


def _host_of(url: str) -> str:
    try:
        return printable(urlsplit(url).hostname or "IMAGI_ALERT_URL")
    except ValueError:
        return "IMAGI_ALERT_URL"
