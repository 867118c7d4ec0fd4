from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.options import CompressionOptions
from imagi_pipeline.core.storage.manifests import RequestManifest, safe_file_name


@given(st.text())
def test_a_file_name_stays_in_its_folder(name: str) -> None:
    safe = safe_file_name(name)
    assert Path("/folder", safe).parent == Path("/folder")
    assert safe not in ("", ".", "..", "request.json")
    assert len(safe.encode()) <= 255


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("products.csv", "products.csv"),
        ("товары 2026.csv", "товары 2026.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\shop\\list.csv", "list.csv"),
        ("..", "upload.csv"),
        ("a\x00b.csv", "a_b.csv"),
        ("\x1b[2J\x9bm\u202egnp.csv", "_[2J_m_gnp.csv"),
        ("two\u00a0words\tmore.csv", "two words more.csv"),
        ("caf\udce9.csv", "caf_.csv"),
    ],
)
def test_a_file_name_is_kept_as_far_as_is_safe(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


def test_a_manifest_cannot_name_a_file_elsewhere() -> None:
    assert RequestManifest.from_json(b'{"name": "../../../escaped.txt"}').name == "escaped.txt"


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b'"x"',
        b"{}",
        b'{"name": 1}',
        b'{"name": "a", "url_columns": 5}',
        b'{"name": "a", "url_columns": "abc"}',
        b'{"name": "a", "url_columns": [1]}',
        b'{"name": "a", "base_url": 5}',
        b'{"name": "a", "options": "small"}',
        b'{"name": "a", "options": {"qualty": 80}}',
        b'{"name": "a", "options": {"quality": 101}}',
        b'{"name": "a", "settings": "huge"}',
        b"\xff",
    ],
)
def test_a_broken_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        RequestManifest.from_json(text)


def test_a_manifest_keeps_what_was_chosen_and_what_images_are_made_with() -> None:
    chosen = RequestManifest("a.csv", options=CompressionOptions(quality=60))
    settled = chosen.settled(CompressionSettings("small", longest_side=1200))
    assert settled.settings == "small-q60-same-1200px"
    assert RequestManifest.from_json(settled.to_json()) == settled


def test_a_manifest_of_a_newer_version_is_read() -> None:
    text = b'{"name": "a.csv", "url_columns": ["x"], "base_url": null, "from_the_future": "http://b"}'
    assert RequestManifest.from_json(text) == RequestManifest("a.csv", ("x",))
