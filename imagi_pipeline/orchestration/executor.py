"""Define what executes the steps of a run: its own process or, for the chunks of a large CSV, workers."""

import dagster as dg
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor


@dg.executor(name="imagi")
def run_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Return the executor that the launcher in `dagster.yaml` brings, else that of one process.

    In one process the cores are kept busy by the codec processes of the engine.
    """
    chosen = getattr(context.instance.run_launcher, "executor", None)
    return (chosen and chosen()) or InProcessExecutor(RetryMode.ENABLED)
