"""Run Dagster's code server, but fork its runs from a process that has imported all (`run_preload.py`).

Dagster starts a new interpreter for each run. To import Dagster and the definitions each time costs
3.5 s of a core, more than all the rest of a small request.

It also goes on to look for runs whose process died when one look fails, because the disk is full or the
database is restarted. In Dagster's own the thread that looks ends then, and the server says of every run that
dies later that it is alive: such a run stays STARTED for ever.

This relies on internals of Dagster (1.13.27); `test_serve.py` and `test_full_disks.py` fail when they change:
`DagsterApiServer._mp_ctx` is the multiprocessing context of the runs, a thread calls
`_check_for_orphaned_runs` again and again, and `dagster api grpc` imports the class when it is called.

Call it like `dagster`: `python -m imagi_pipeline.service.code_server api grpc ...`.
"""

import logging
import multiprocessing
import sys
import time
from multiprocessing import forkserver
from typing import Any

RUN_PRELOAD = "imagi_pipeline.service.run_preload"
SECONDS_TO_LOOK_AGAIN = 5.0

_log = logging.getLogger(__name__)


def main() -> None:
    """Run Dagster's command line."""
    # Not at the top: each run imports this module, as its main one, and does not need these.
    from dagster._cli import main as dagster
    from dagster._grpc import server

    from imagi_pipeline.service.plain_logs import use_plain_logs

    class CodeServer(server.DagsterApiServer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if sys.platform == "linux":  # elsewhere a run would outlive a fork server that was killed
                forks: Any = multiprocessing.get_context("forkserver")
                forks.set_forkserver_preload([RUN_PRELOAD])
                self._mp_ctx = forks
                forkserver.ensure_running()  # the first run need not wait for the imports

        def _check_for_orphaned_runs(self) -> None:
            try:
                super()._check_for_orphaned_runs()
            except Exception as error:  # noqa: BLE001 - whatever a database may raise
                _log.warning("Cannot tell yet which runs died, and will look again: %s", error)
                time.sleep(SECONDS_TO_LOOK_AGAIN)  # each look would write into the log of the run

    server.DagsterApiServer = CodeServer  # type: ignore[misc]
    use_plain_logs()
    dagster()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
