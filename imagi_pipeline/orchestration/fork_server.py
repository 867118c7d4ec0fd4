"""Imported by Python's fork server alone (`code_server.py`): what a run needs is there when it is forked.

A run ends with the fork server. Without that the code server takes the run for dead and it is done again,
which must not happen beside the first.
"""

import os
import signal

import dagster._grpc.impl  # noqa: F401

import imagi_pipeline.definitions  # noqa: F401
from imagi_pipeline.supervisor import end_with_parent

os.register_at_fork(after_in_child=lambda: end_with_parent(signal.SIGKILL))
