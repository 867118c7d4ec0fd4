"""Import everything that a run needs, in Python's fork server: each run is a fork of this process.

Only that fork server imports this module (see `code_server.py`). When it dies, its runs end too: the code
server takes such a run for dead, and Dagster does it again, which must not happen while the first still runs.
"""

import os
import signal

import dagster._grpc.impl  # noqa: F401

import imagi_pipeline.definitions  # noqa: F401
from imagi_pipeline.service.supervisor import end_with_parent

_FORK_SERVER = os.getpid()


def _in_run() -> None:
    end_with_parent(signal.SIGKILL)
    if os.getppid() != _FORK_SERVER:  # it died before that
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


# The signal to stop goes to all processes of the code server: the runs need the time to obey it.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=_in_run)
