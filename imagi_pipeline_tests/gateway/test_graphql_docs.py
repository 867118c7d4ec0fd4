"""docs/graphql.md says what is: its queries are the files, its tables are what the code does."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import imagi_pipeline_tests
from imagi_pipeline import contract
from imagi_pipeline.contract import REQUEST_ID_TAG, status_of_run

DOCUMENT = Path(imagi_pipeline_tests.__file__).parents[1] / "docs" / "graphql.md"
QUERIES = resources.files("imagi_pipeline.gateway") / "queries"
NAMES = sorted(path.name.removesuffix(".graphql") for path in QUERIES.iterdir())


def blocks(language: str, text: str | None = None) -> list[str]:
    """Return the contents of the fenced blocks of a language, of the whole document or a part of it."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text or document(), re.DOTALL | re.MULTILINE)


def document() -> str:
    return DOCUMENT.read_text("utf-8")


def section(name: str) -> str:
    """Return what stands below the heading of a query."""
    found = re.search(rf"^### {name}\.graphql\n(.*?)(?=^##|\Z)", document(), re.DOTALL | re.MULTILINE)
    assert found, f"docs/graphql.md has no heading {name}.graphql"
    return found[1]


def example(name: str) -> tuple[Any, Any]:
    """Return the example of a query: its variables, and the answer."""
    variables, answer = blocks("json", section(name))
    return json.loads(variables), json.loads(answer)


@pytest.mark.parametrize("name", NAMES)
def test_each_query_is_shown_as_it_is(name: str) -> None:
    assert blocks("graphql", section(name)) == [(QUERIES / f"{name}.graphql").read_text("utf-8")]


@pytest.mark.parametrize("name", NAMES)
def test_each_query_says_at_its_top_what_it_is_for(name: str) -> None:
    assert (QUERIES / f"{name}.graphql").read_text("utf-8").startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_each_query_has_an_example_with_all_its_variables(name: str) -> None:
    declared = re.search(
        r"^(?:query|mutation) \w+(?:\((.*?)\))? {", blocks("graphql", section(name))[0], re.MULTILINE
    )
    assert declared
    variables, answer = example(name)
    required = re.findall(r"\$(\w+): \S+!", declared[1] or "")
    allowed = re.findall(r"\$(\w+):", declared[1] or "")
    assert set(required) <= set(variables) <= set(allowed)
    assert answer


def test_no_query_is_shown_that_is_no_file() -> None:
    assert len(blocks("graphql")) == len(NAMES)


def test_every_status_of_a_run_is_in_the_table_with_the_status_of_its_request() -> None:
    table = {
        name: row[1]
        for row in re.findall(r"^\| (`[A-Z].*?) \| `(.*?)`", document(), re.MULTILINE)
        for name in re.findall(r"`([A-Z_]+)`", row[0])
    }
    assert set(table) == {status.value for status in dg.DagsterRunStatus}
    for name in contract._STATUS_OF_RUN:
        assert table[name] == status_of_run("x", name, {REQUEST_ID_TAG: "x"}, 0, 0).status


def test_every_tag_of_a_run_is_in_the_table() -> None:
    tags = [value for name, value in vars(contract).items() if name.endswith("_TAG")]
    own = [tag for tag in tags if tag.startswith("imagi/")]
    assert own
    assert not [tag for tag in own if not re.search(rf"^\|.*`{tag}`.* \|", document(), re.MULTILINE)]
