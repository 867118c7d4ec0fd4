"""What a materialization event costs on SQLite: in batches, as we report them, and by `context.log_event`.

python benchmarks/events.py [--events 500] [--rounds 3]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import dagster as dg

from imagi_pipeline.orchestration.internals.event_batches import report_events

Reporter = Callable[[dg.OpExecutionContext, Sequence[dg.AssetMaterialization]], None]


def main() -> None:
    """Run the rounds and print each, then the median ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ratios = []
    for number in range(arguments.rounds):
        batch, single = (
            milliseconds_per_event(report, arguments.events) for report in (report_events, report_one_by_one)
        )
        ratios.append(single / batch)
        print(f"{number} batch {batch:.2f} ms, log_event {single:.2f} ms an event: x{single / batch:.1f}")
    print(f"log_event costs x{median(ratios):.1f} of a batch")


def report_one_by_one(
    context: dg.OpExecutionContext, materializations: Sequence[dg.AssetMaterialization]
) -> None:
    """Report as Dagster's documentation says."""
    for materialization in materializations:
        context.log_event(materialization)


def milliseconds_per_event(report: Reporter, events: int) -> float:
    """Time of the report of as many images, in a new instance on SQLite."""
    materializations = [
        dg.AssetMaterialization(
            "compressed_image",
            partition=f"image-{number:016x}",
            metadata={"url": f"https://images.example/{number}.jpg", "bytes": 123_456, "savings": 0.5},
            tags={"dagster/code_version": "v1", "dagster/data_version": f"v1-{number}"},
        )
        for number in range(events)
    ]
    seconds = 0.0

    @dg.op
    def report_images(context: dg.OpExecutionContext) -> None:
        nonlocal seconds
        report(context, materializations[:1])  # the first event makes the shard
        start = time.perf_counter()
        report(context, materializations)
        seconds = time.perf_counter() - start

    @dg.job
    def process_csv() -> None:
        report_images()

    with (
        tempfile.TemporaryDirectory() as folder,
        dg.DagsterInstance.local_temp(str(Path(folder))) as instance,
    ):
        config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        process_csv.execute_in_process(instance=instance, run_config=config)
    return 1000 * seconds / events


if __name__ == "__main__":
    main()
