"""What a command must not load or start, counted: the most of what a small one costs is its imports."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from imagi_pipeline_tests.image_host import ImageHost

# In a process of its own: what is imported stays imported, and a hook of `sys.addaudithook` stays for ever.
COMMAND = """
import contextlib, json, runpy, sys
started = []
def count(event, arguments):
    if event == "subprocess.Popen":
        started.append([str(part) for part in arguments[1]])
sys.addaudithook(count)
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
    runpy.run_module("imagi_pipeline", run_name="__main__")
print(json.dumps({"modules": sorted(sys.modules), "started": started}))
"""


@dataclass
class Costs:
    modules: list[str]
    started: list[list[str]]

    @property
    def packages(self) -> set[str]:
        return {name.partition(".")[0] for name in self.modules}


def costs(*arguments: str | Path) -> Costs:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return Costs(**json.loads(done.stdout))


def test_help_loads_neither_dagster_nor_anything_that_works_on_images_or_the_network() -> None:
    found = costs("--help")
    assert not found.packages & {"dagster", "sqlalchemy", "PIL", "pycurl", "requests", "fastapi", "numpy"}
    assert len(found.modules) < 650


def test_the_status_loads_no_definitions_and_no_server() -> None:
    costs("home")
    found = costs("status")
    assert not found.packages & {
        "dagster_graphql",
        "dagster_webserver",
        "fastapi",
        "uvicorn",
        "PIL",
        "requests",
    }
    assert "imagi_pipeline.definitions" not in found.modules
    assert len(found.modules) < 1650


def test_a_small_request_loads_no_server_and_starts_one_codec_process(
    image_host: ImageHost, tmp_path: Path
) -> None:
    csv = tmp_path / "small.csv"
    csv.write_text("Image\n" + "\n".join(image_host.add("a.jpg", "b.jpg", "c.jpg")) + "\n")
    found = costs("process", csv)
    assert not found.packages & {
        "dagster_graphql",
        "dagster_webserver",
        "fastapi",
        "pandas",
        "numpy",
        "requests",
    }
    assert len(found.modules) < 1900
    started = [command for command in found.started if command[0] != "file"]  # that is Python's `platform`
    assert len(started) == 1
    assert "imagi_pipeline.core.images.codec_process" in started[0]
