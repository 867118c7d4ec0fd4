"""The OpenAPI document is true: schemathesis calls every endpoint, rightly and wrongly."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from imagi_pipeline_tests.running_service import Service, running_service

SETTINGS = """
# An image host that fails is a bad gateway, and no fault of ours.
[[operations]]
include-path = "/imagi-process/requests/{request_id}/images/{key}/source/"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 502]
"""


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for itself: what is handed in here names hosts that do not exist, and takes its time."""
    with running_service(tmp_path_factory.mktemp("openapi"), IMAGI_ATTEMPTS="1") as running:
        yield running


def test_every_answer_is_as_documented(own_service: Service, tmp_path: Path) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    program = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings)]
    options = [
        *("--max-examples", "10", "--seed", "1", "--checks", "all", "--request-timeout", "60"),
        # No schema can say what makes a CSV usable.
        *("--exclude-checks", "positive_data_acceptance"),
    ]
    done = subprocess.run(
        [*program, "run", f"{own_service.gateway}/openapi.json", *options],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout


def test_every_endpoint_and_error_is_described(own_service: Service) -> None:
    document = requests.get(f"{own_service.gateway}/openapi.json", timeout=10).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (path, method)
            for status, answer in operation["responses"].items():
                assert answer["description"], (path, status)
                if status.startswith(("4", "5")) and (path, status) != ("/readyz", "503"):
                    reference = answer["content"]["application/json"]["schema"]["$ref"]
                    assert reference.endswith("/Problem"), (path, status)


def test_every_field_that_is_no_document_itself_has_an_example(own_service: Service) -> None:
    document = requests.get(f"{own_service.gateway}/openapi.json", timeout=10).json()
    fields = [
        (name, field, schema)
        for name, model in document["components"]["schemas"].items()
        for field, schema in model.get("properties", {}).items()
        if "$ref" not in json.dumps(schema)
    ]
    assert [(name, field) for name, field, schema in fields if not schema.get("examples")] == []
