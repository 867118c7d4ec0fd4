from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from imagi_pipeline.definitions import defs
from imagi_pipeline.service.serve import LOCATION, MODULE

ROOT = Path(__file__).parent.parent


def test_the_definitions_load_and_fit_together() -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_lineage_goes_from_upload_to_result() -> None:
    graph = defs.resolve_asset_graph()
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "landing_folder": set(),
        "uploaded_csv": {"landing_folder"},
        "compressed_image": {"uploaded_csv"},
        "compression_report": {"uploaded_csv", "compressed_image"},
        "enriched_csv": {"uploaded_csv", "compression_report"},
        "savings": {"compression_report"},
    }


def test_all_that_the_ui_lists_says_what_it_does_and_whose_it_is() -> None:
    repository, graph = defs.get_repository_def(), defs.resolve_asset_graph()
    assets = [graph.get(key) for key in graph.get_all_asset_keys()]
    jobs = [defs.resolve_job_def("process_csv"), defs.resolve_job_def("purge")]
    listed: list[Any] = [*assets, *jobs, *repository.sensor_defs, *repository.schedule_defs]
    assert not [thing for thing in listed if not thing.description]
    # Dagster gives a sensor of failed runs no owner.
    unowned = [thing for thing in listed if not thing.owners]
    assert unowned == [defs.resolve_sensor_def("request_failure_sensor")]
    assert {(asset.group_name, bool(asset.kinds)) for asset in assets} == {("catalogue_images", True)}


def test_dg_finds_the_definitions() -> None:
    """As `dg list defs`, `dg check defs` and `dg dev` do, which read pyproject.toml."""
    dg_command = [str(Path(sys.executable).parent / "dg")]
    arguments = ["list", "defs", "--json"]
    listed = subprocess.run(
        [*dg_command, *arguments], cwd=ROOT, check=True, timeout=120, capture_output=True, text=True
    )
    found = json.loads(listed.stdout)
    assert {asset["asset_key"] for asset in found["assets"]} >= {
        "uploaded_csv",
        "compressed_image",
        "enriched_csv",
    }


def test_the_sensor_runs_by_default() -> None:
    sensor = defs.resolve_sensor_def("landing_folder_sensor")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def test_the_workspace_dg_and_the_service_load_the_same_location() -> None:
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert entry["python_module"] == {"module_name": MODULE, "location_name": LOCATION}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert (project["code_location_target_module"], project["code_location_name"]) == (MODULE, LOCATION)


def test_the_core_the_settings_and_the_gateway_know_no_dagster() -> None:
    code = (
        "import sys, pkgutil, importlib, imagi_pipeline.core, imagi_pipeline.gateway\n"
        "import imagi_pipeline.settings, imagi_pipeline.cli.commands\n"
        "for package in (imagi_pipeline.core, imagi_pipeline.gateway):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "assert 'dagster' not in sys.modules, 'dagster was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
