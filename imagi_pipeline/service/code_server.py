"""Run Dagster's code server, but fork its runs from a process that has imported all (`run_preload.py`).

Dagster starts a new interpreter for each run. To import Dagster and the definitions each time costs
3.5 s of a core, more than all the rest of a small request.

This relies on internals of Dagster (1.13.27); `test_serve.py` fails when they change:
`DagsterApiServer._mp_ctx` is the multiprocessing context of the runs, and `dagster api grpc` imports the
class when it is called.

Call it like `dagster`: `python -m imagi_pipeline.service.code_server api grpc ...`.
"""

import multiprocessing
import sys
from multiprocessing import forkserver
from typing import Any

RUN_PRELOAD = "imagi_pipeline.service.run_preload"


def main() -> None:
    """Run Dagster's command line."""
    # Not at the top: each run imports this module, as its main one, and does not need these.
    from dagster._cli import main as dagster
    from dagster._grpc import server

    from imagi_pipeline.service.plain_logs import use_plain_logs

    class ForkingServer(server.DagsterApiServer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            forks: Any = multiprocessing.get_context("forkserver")
            forks.set_forkserver_preload([RUN_PRELOAD])
            self._mp_ctx = forks
            forkserver.ensure_running()  # the first run need not wait for the imports

    if sys.platform == "linux":  # elsewhere a run would outlive a fork server that was killed
        server.DagsterApiServer = ForkingServer  # type: ignore[misc]
    use_plain_logs()
    dagster()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
