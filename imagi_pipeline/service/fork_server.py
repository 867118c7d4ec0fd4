"""Imported by Python's fork server alone (`code_server.py`): what a run needs is there when it is forked.

A run ends with the fork server. Without that the code server takes the run for dead and it is done again,
which must not happen beside the first.
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
