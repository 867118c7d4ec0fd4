"""What a run costs in a warm process, by storage: ours beside Dagster's own, in interleaved rounds.

    python benchmarks/run_cost.py [--runs 20] [--rounds 3] [--postgres-url postgresql+psycopg2://...]
    python benchmarks/run_cost.py --images 100000      # the bytes that their events and partitions take

A run has one step, one asset and 12 events. Of PostgreSQL, only the client's CPU is measured, in tables that
are made in the database that is given.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

OURS = "imagi_pipeline.orchestration.internals"
WARM_UP = 5
IMAGES_IN_A_BATCH = 500


def main() -> None:
    """Measure each storage in a process of its own, round after round, and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, help="Measure bytes instead of time.")
    parser.add_argument("--postgres-url")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.runs, arguments.images)))
        return
    storages = blocks(None if arguments.images else arguments.postgres_url)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in storages}
    for _ in range(1 if arguments.images else arguments.rounds):
        for name, block in storages.items():
            found[name].append(in_process(block))
    for name, rounds in found.items():
        medians = {fact: statistics.median(each[fact] for each in rounds) for fact in rounds[0]}
        print(f"{name:24}" + ", ".join(f"{fact} {value:,.3f}" for fact, value in medians.items()))


def blocks(postgres_url: str | None) -> dict[str, Any]:
    """What dagster.yaml says of each storage."""

    def custom(module: str, name: str, **config: Any) -> dict[str, Any]:
        return {"storage": {"custom": {"module": f"{OURS}.{module}", "class": name, "config": config}}}

    found: dict[str, Any] = {
        "ours": custom("embedded_storage", "EmbeddedStorage", base_dir={"env": "DAGSTER_HOME"}),
        "Dagster's own": {},
    }
    if postgres_url:
        found["PostgreSQL, ours"] = custom(
            "postgres_storage", "KeptPostgresStorage", postgres_url=postgres_url
        )
        found["PostgreSQL, Dagster's"] = {"storage": {"postgres": {"postgres_url": postgres_url}}}
    return found


def in_process(block: dict[str, Any]) -> dict[str, float]:
    """The facts of one round, measured in a new process with a new DAGSTER_HOME."""
    with tempfile.TemporaryDirectory() as home:
        Path(home, "dagster.yaml").write_text(yaml.dump({"telemetry": {"enabled": False}, **block}))
        done = subprocess.run(
            [sys.executable, *sys.argv, "--measure", home],
            env={**os.environ, "DAGSTER_HOME": home},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    facts: dict[str, float] = json.loads(done.stdout)
    return facts


def measure(home: str, runs: int, images: int | None) -> dict[str, float]:
    """Seconds of a run and of its CPU, and files in DAGSTER_HOME; or bytes per image."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        if images:
            add_images(instance, images)
            return {"bytes per image": database_bytes(Path(home)) / images}
        return cost_of_runs(instance, runs) | {"files": len(list(Path(home).rglob("*.db")))}


def cost_of_runs(instance: Any, runs: int) -> dict[str, float]:
    """Medians of runs, after some to warm up."""
    import dagster as dg

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="keys"), output_required=False)
    def thing() -> Iterator[dg.MaterializeResult[Any]]:
        yield dg.MaterializeResult(metadata={"x": 1})

    jobs = [dg.define_asset_job("job", selection=[thing])]
    job = dg.Definitions(assets=[thing], jobs=jobs).resolve_job_def("job")
    instance.add_dynamic_partitions("keys", [str(number) for number in range(runs + WARM_UP)])
    costs, times = [], []
    for number in range(runs + WARM_UP):
        began, at = cpu(), time.perf_counter()
        job.execute_in_process(instance=instance, partition_key=str(number))
        costs.append(cpu() - began)
        times.append(time.perf_counter() - at)
    return {"CPU s": statistics.median(costs[WARM_UP:]), "time s": statistics.median(times[WARM_UP:])}


def add_images(instance: Any, count: int) -> None:
    """Partitions and events of images, as a run of `process_csv` reports them."""
    import dagster as dg

    from imagi_pipeline.orchestration.event_metadata import materialization
    from imagi_pipeline.orchestration.internals.event_batches import report_events
    from imagi_pipeline_tests.records import image_key, image_record

    urls = (
        f"https://images.example/catalogue/{number // 1000}/product-{number:07}.jpg"
        for number in range(count)
    )

    @dg.op
    def report(context: dg.OpExecutionContext) -> None:
        while some := list(islice(urls, IMAGES_IN_A_BATCH)):
            context.instance.add_dynamic_partitions("images", [image_key(url) for url in some])
            events = [
                materialization(image_key(url), image_record(url), "https://cdn.example/media")
                for url in some
            ]
            report_events(context, events)

    @dg.job
    def process_csv() -> None:
        report()

    process_csv.execute_in_process(instance=instance)


def database_bytes(home: Path) -> int:
    """What all databases take on the disk, write-ahead logs included."""
    return sum(path.stat().st_size for path in home.rglob("*.db*"))


def cpu() -> float:
    """Seconds of CPU of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
