"""Who may import whom: the map of the rooms, held against every import of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "imagi_pipeline"
DOCS = ROOT / "docs" / "architecture.md"

FOUNDATIONS = {"core.errors", "core.printable"}
ROOMS = {"core.csv", "core.http", "core.images", "core.storage"}
CORE = {
    *FOUNDATIONS,
    *ROOMS,
    "core.authority",
    "core.limits",
    "core.engine",
    "core.reports",
    "core.image_lookup",
    "core.archive",
    "core.uploads",
    "core.savings",
    "core.upkeep",
}

ALLOWED: dict[str, set[str]] = {
    # the core, from its ground up; it knows no settings, no Dagster and no web framework
    "core.printable": set(),
    "core.errors": {"core.printable"},
    "core.request_status": set(),
    "core.images": FOUNDATIONS,
    "core.authority": FOUNDATIONS,
    "core.http": {*FOUNDATIONS, "core.authority"},
    "core.csv": {*FOUNDATIONS, "core.authority", "core.images"},  # a signature tells that an upload is no CSV
    "core.storage": {*FOUNDATIONS, "core.images", "core.request_status"},
    "core.limits": {*FOUNDATIONS, "core.http"},
    "core.engine": {*FOUNDATIONS, *ROOMS, "core.limits"},
    "core.reports": {*FOUNDATIONS, *ROOMS, "core.engine"},
    "core.image_lookup": {*ROOMS, "core.reports"},
    "core.uploads": ROOMS,
    "core.archive": {*ROOMS, "core.reports", "core.uploads"},
    "core.savings": set(),
    "core.upkeep": CORE - {"core.upkeep"} | {"core.request_status"},
    # what stands on it
    "settings": CORE,
    "contract": {"core.request_status"},
    "gateway": CORE | {"core.request_status", "settings", "contract"},
    "orchestration": CORE | {"core.request_status", "settings", "contract"},
    "definitions": {"core.images", "orchestration"},
    "service": {
        *("settings", "contract", "gateway", "definitions", "orchestration"),
        *FOUNDATIONS,
        "core.storage",  # the daemon watches the landing folder
    },
    "cli": CORE
    | {"core.request_status", "settings", "contract", "gateway", "definitions", "orchestration", "service"},
    "__main__": {"cli"},
}
"""Each room, and the rooms that it may import from."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(module: Path) -> str:
    return ".".join(module.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    parts = module.split(".")[1:]
    return ".".join(parts[:2] if parts[:1] == ["core"] else parts[:1])


def imports(module: Path) -> Iterator[str]:
    """Yield every module that is named in an import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def crossings() -> list[tuple[str, str]]:
    """Return each import of one room from another, as the name of the importing module and
    the imported room.
    """
    found = []
    for module in modules():
        own = room_of(name_of(module))
        targets = {name for name in imports(module) if name.startswith("imagi_pipeline.") and is_module(name)}
        rooms = {room_of(name) for name in targets} - {own, "", "core"}
        found += [(name_of(module), room) for room in sorted(rooms)]
    return found


def test_every_room_is_on_the_map() -> None:
    assert {room_of(name_of(module)) for module in modules()} - {"", "core"} == set(ALLOWED)


def test_no_room_imports_from_a_room_above_it() -> None:
    wrong = [(module, room) for module, room in crossings() if room not in ALLOWED[room_of(module)]]
    assert not wrong


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_the_map_has_no_circle(room: str) -> None:
    reached: set[str] = set()
    ahead = set(ALLOWED[room])
    while ahead:
        reached |= ahead
        ahead = set().union(*(ALLOWED[other] for other in ahead)) - reached
    assert room not in reached


def test_every_module_that_touches_internals_of_dagster_is_in_the_table() -> None:
    touching = {
        str(module.relative_to(PACKAGE))
        for module in modules()
        if any(re.match(r"dagster\w*\._|dagster_(?!shared)", name) for name in imports(module))
        or (module.parent.name == "internals" and module.name != "__init__.py")
    }
    section = DOCS.read_text().split("## Dagster internals")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    assert set(re.findall(r"`([\w/]+\.py)`", " ".join(first_cells))) == touching


def test_every_path_of_the_docs_exists() -> None:
    named = set(re.findall(r"`((?:core|orchestration|gateway|service|cli)/[\w/]+\.py)`", DOCS.read_text()))
    assert named
    assert not {path for path in named if not (PACKAGE / path).exists()}


TESTED_THROUGH = {
    "core/uploads.py": "orchestration/test_assets.py",
    "cli/local.py": "cli/test_commands.py",  # the commands are started as a user starts them
    "cli/printing.py": "cli/test_commands.py",
    "cli/terminal.py": "cli/test_commands.py",
    "core/archive.py": "gateway/test_api.py",
    "core/csv/limits.py": "core/csv/test_reader.py",
    "core/csv/reader_process.py": "core/csv/test_reader.py",  # the process that the reader starts
    "core/csv/records.py": "core/csv/test_dialect.py",
    "core/csv/table.py": "core/csv/test_reading.py",
    "core/http/lenient.py": "core/http/test_client.py",
    "core/http/limits.py": "core/http/test_fetching.py",
    "core/http/transfer.py": "core/http/test_client.py",
    "core/images/choosing.py": "core/images/test_compress.py",
    "core/images/codec_process.py": "core/images/test_codec_pool.py",  # the process that the pool starts
    "core/images/compressed_image.py": "core/images/test_compress.py",
    "core/images/encoding.py": "core/images/test_compress.py",
    "core/limits.py": "test_settings.py",
    "core/storage/records.py": "core/storage/test_store.py",
    "core/upkeep/checks.py": "cli/test_doctor.py",  # each check on an installation that has its fault
    "gateway/app.py": "gateway/test_access.py",
    "gateway/request_service.py": "gateway/test_api.py",
    "orchestration/checks.py": "orchestration/test_assets.py",
    "orchestration/deliveries.py": "service/test_serve.py",
    "orchestration/instance_checks.py": "cli/test_doctor.py",
    "orchestration/executor.py": "service/test_workers.py",
    "orchestration/internals/celery_chunks.py": "service/test_workers.py",
    "orchestration/internals/celery_launcher.py": "service/test_workers.py",
    "orchestration/internals/event_watch.py": "service/test_live_log.py",
    "orchestration/internals/kept_connections.py": "orchestration/internals/test_run_cost.py",
    "orchestration/internals/run_history.py": "orchestration/test_purge.py",
    "orchestration/jobs.py": "test_definitions.py",
    "orchestration/local_run.py": "cli/test_commands.py",
    "orchestration/partitions.py": "orchestration/test_assets.py",
    "orchestration/request_files.py": "orchestration/test_assets.py",
    "orchestration/resources.py": "test_definitions.py",
    "service/code_server.py": "service/test_serve.py",
    "service/run_preload.py": "service/test_serve.py",
    "service/worker.py": "service/test_workers.py",
}
"""Modules without a test file of their name: what they do shows only in what another test file looks at."""


def test_the_tests_mirror_the_modules() -> None:
    tests = PACKAGE.parent / "imagi_pipeline_tests"
    without = {
        str(module.relative_to(PACKAGE))
        for module in modules()
        if not module.name.startswith("__")
        and not (tests / module.relative_to(PACKAGE).parent / f"test_{module.name}").exists()
    }
    assert without == set(TESTED_THROUGH)
    assert not {path for path in TESTED_THROUGH.values() if not (tests / path).exists()}


def test_no_word_is_old_fashioned() -> None:
    words = re.compile(
        r"\b(?:mend|mended|anew|lest|hither|hitherto|thereof|whereby|thereby|herein|ere|hence)\b"
    )
    texts = [
        path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".js", ".html", ".yaml", ".graphql"}
    ]
    texts += [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    assert len(texts) > 100
    assert [(path.name, found[0]) for path in texts for found in words.finditer(path.read_text())] == []
