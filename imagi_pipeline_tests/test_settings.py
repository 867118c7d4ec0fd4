from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from pydantic import ValidationError

from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.limits import EngineLimits
from imagi_pipeline.settings import Settings, settings_table, variable

DOCS = Path(__file__).parent.parent / "docs"


def test_the_documentation_lists_every_setting_as_it_is() -> None:
    assert settings_table() in (DOCS / "settings.md").read_text()


def test_every_setting_has_a_meaning() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_networks_are_given_as_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGI_ALLOWED_NETWORKS", "10.0.0.0/8, ::1/128,")
    assert Settings().allowed_networks == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quality", "101"),
        ("output_format", "bmp"),
        ("allowed_networks", "10.0.0.1/8"),
        ("attempts", "0"),
        ("chunk_size", "40000"),
        ("time_zone", "Mars/Olympus"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert error.value.errors()[0]["loc"][0] == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("IMAGI_QUALTY", "There is no setting IMAGI_QUALTY. Did you mean IMAGI_QUALITY?"),
        ("IMAGI_{loc}_XYZ", "There is no setting IMAGI_{loc}_XYZ. docs/settings.md lists all."),
    ],
)
def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setenv(name, "60")
    with pytest.raises(ValidationError) as error:
        Settings()
    assert error.value.errors()[0]["msg"] == words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGI_TOKEN", "x" * 20),
        ("IMAGI_QUALTY", ""),
        ("IMAGI_PORT", "tcp://10.0.0.1:8000"),
        ("IMAGI_GATEWAY_SERVICE_PORT_HTTP", "8000"),
        ("IMAGI_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("IMAGINE", "x"),
    ],
)
def test_what_others_set_is_no_typo(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    Settings()


def test_a_public_url_may_end_with_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGI_PUBLIC_URL", "https://cdn.example/media/")
    assert Settings().public_url == "https://cdn.example/media"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGI_QUALITY", "")
    assert Settings().quality is None


def test_tokens_have_a_name_and_may_be_an_admins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGI_API_TOKENS", "shop:0123456789abcdef, ops:fedcba9876543210:admin,")
    shop, ops = Settings().api_tokens
    assert (shop.name, shop.secret.get_secret_value(), shop.is_admin) == ("shop", "0123456789abcdef", False)
    assert (ops.name, ops.is_admin) == ("ops", True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_tokens", "0123456789abcdef"),
        ("api_tokens", "shop:too-short"),
        ("api_tokens", "shop:0123456789abcdef:root"),
        ("api_tokens", ":0123456789abcdef"),
        ("api_tokens", "a:0123456789abcdef,a:0123456789abcdeX"),
        ("api_tokens", "a:0123456789abcdef,b:0123456789abcdef"),
        ("webhook_secret", "whsec_no base64"),
        ("webhook_secret", "whsec_c2hvcnQ="),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert error.value.errors()[0]["loc"][0] == name
    assert value not in str(error.value)


def test_the_limits_of_the_core_have_the_defaults_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGI_ALLOWED_NETWORKS")
    monkeypatch.delenv("IMAGI_CODEC_PROCESSES")
    assert Settings().engine_limits == EngineLimits()
    assert Settings().compression == CompressionSettings()


def test_every_limit_of_the_core_can_be_set() -> None:
    settings = Settings(
        connect_timeout=1,
        read_timeout=2,
        download_deadline=3,
        max_source_bytes=4,
        attempts=5,
        max_retry_after=6,
        allowed_networks="10.0.0.0/8",
        reuse_for=7,
        download_threads=8,
        connections_per_host=9,
        bytes_in_flight=10,
        codec_processes=11,
        codec_timeout=12,
        pixels_in_flight=13,
    )
    fetching = FetchLimits(1, 2, 3, 4, 5, 6, (ipaddress.ip_network("10.0.0.0/8"),))
    assert settings.engine_limits == EngineLimits(fetching, 7, 8, 9, 30, 10, 11, 12, 13)
