"""Define every setting: its environment variable, type, unit and default.

The variable of a field is `IMAGI_` and the name of the field in capitals.
`python -m imagi_pipeline.settings` prints the table of docs/settings.md.
"""

from __future__ import annotations

import base64
import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticUndefined
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.http.limits import FetchLimits, own_user_agent
from imagi_pipeline.core.images.compression_settings import (
    HIGHEST_QUALITY,
    LONGEST_SIDE,
    CompressionSettings,
    OutputFormat,
    Png,
    Preset,
)
from imagi_pipeline.core.limits import EngineLimits

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

ENV_PREFIX = "IMAGI_"

TOKEN_VARIABLE = "IMAGI_TOKEN"  # noqa: S105 - a name
"""The token that `imagi submit` sends; no setting of the service."""

_OF_KUBERNETES = re.compile(r"IMAGI_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_\w+)?)")
"""Variables that every pod beside a service of the name `imagi` is given."""

SECRET_SETTINGS = frozenset({"api_tokens", "dagster_url", "webhook_secret"})
"""Settings whose value must not be shown."""

SHORTEST_TOKEN = 16
SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes of a signing key, as the Standard Webhooks specification has them."""


class ApiToken(BaseModel):
    """A caller who may use the HTTP API: a name for the log and the requests, and the token itself."""

    model_config = ConfigDict(frozen=True)

    name: str
    secret: SecretStr
    is_admin: bool = False


_CSV = CsvLimits()


class Settings(BaseSettings):
    """What a user may choose. Raises pydantic's ValidationError, which names the field, on a bad value.

    And for a variable that begins as ours do and is none of them: a typo would be a default.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    storage: str = Field(
        default_factory=lambda: str(default_folder()),
        description="Root of all files: a folder, or any fsspec URL such as s3://bucket/imagi.",
    )
    public_url: str = Field(
        "http://127.0.0.1:8000/media",
        description="What the URLs of compressed images start with; serve `compressed/` there.",
    )
    gateway_url: str = Field(
        "http://127.0.0.1:8000",
        description="Where programs reach the gateway; its links (`result_url`, ...) start with it.",
    )
    dagster_url: str = Field(
        "http://127.0.0.1:3000",
        description="The Dagster web server that the gateway asks over GraphQL; with `name:password@` before "
        "the host where it asks for a login.",
    )
    dagster_ui_url: str | None = Field(
        None, description="Where people reach the Dagster UI (`run_url`); unset: as IMAGI_DAGSTER_URL."
    )

    preset: Preset = Field(
        "balanced",
        description="Effort of the encoder: fast (least CPU where pixels are encoded; balanced is as fast "
        "for a JPEG that keeps its size), balanced, small (progressive, at a lower quality), "
        "lossless (no pixel is changed that need not be).",
    )
    quality: int | None = Field(
        None,
        ge=1,
        le=HIGHEST_QUALITY,
        description="Encoder quality; unset: 80, 70 with preset small, 95 with lossless.",
    )
    output_format: OutputFormat = Field(
        "same",
        description="Format of the compressed images; same: as the source, if browsers show it; "
        "auto: also JPEG for a photograph that is a PNG, which changes the ending of its URL; "
        "auto-webp: the same, by JPEG or WebP, whichever is smaller.",
    )
    png: Png = Field(
        "auto",
        description="auto: PNGs get a palette of 256 colours where nobody sees the difference, "
        "by the quality; lossless: no pixel of them changes.",
    )
    longest_side: int | None = Field(
        None,
        ge=1,
        le=LONGEST_SIDE,
        description="Scale larger images down to this many pixels on the longest side.",
    )
    max_pixels: int = Field(
        50_000_000, ge=1, description="Refuse images with more pixels than this, before decoding."
    )

    reuse_for: float = Field(
        24 * 3600,
        ge=0,
        description="Seconds for which a compressed image is reused without asking its host again.",
    )
    connect_timeout: float = Field(10, gt=0, description="Seconds to connect to an image host.")
    read_timeout: float = Field(20, gt=0, description="Seconds to wait for each piece of an answer.")
    download_deadline: float = Field(
        60, gt=0, description="Seconds for one whole download, redirects included."
    )
    max_source_bytes: int = Field(
        25_000_000, ge=1, description="Bytes of a source image, after decompression."
    )
    attempts: int = Field(4, ge=1, description="Tries for a download that fails for a transient reason.")
    max_retry_after: float = Field(
        60, ge=0, description="Longest wait in seconds that a host may ask for with Retry-After."
    )
    connections_per_host: int = Field(
        128,
        ge=1,
        description="The most downloads at the same time from one host. A host begins with 32 and gets one "
        "more for each image that it serves while the processes wait for images; half of them go when it "
        "does not answer, or is overloaded.",
    )
    download_threads: int = Field(128, ge=1, description="Downloads at the same time in all.")
    allowed_networks: Annotated[tuple[IPNetwork, ...], NoDecode] = Field(
        (),
        description="Comma-separated networks (CIDR) that may be dialled although they are private, "
        "such as 10.0.0.0/8.",
    )

    user_agent: str | None = Field(
        None,
        max_length=500,
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        description="What image hosts see as User-Agent, for those that let only some programs in; unset: "
        "the name and version of this project.",
    )
    referer: Literal["none", "origin"] = Field(
        "none",
        description="origin: send the image's own site as Referer, for hosts with hotlink protection.",
    )

    codec_processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="Processes that decode and encode; default: one per core.",
    )
    codec_timeout: float = Field(
        60, gt=0, description="Seconds of decoding and encoding after which an image is given up."
    )
    bytes_in_flight: int = Field(
        256_000_000, ge=1, description="Bytes of source images held in memory at the same time."
    )
    pixels_in_flight: int = Field(
        100_000_000,
        ge=1,
        description="Pixels decoded at the same time, of 16 bytes each: those of other formats than JPEG "
        "count twice.",
    )
    chunk_size: int = Field(
        5_000,
        ge=1,
        le=30_000,  # SQLite takes 32,766 values in one statement
        description="Images in one step of a run; steps can be spread over machines.",
    )
    landing_quiet_period: float = Field(
        1.0,
        ge=0,
        description="Seconds without a change after which a file in the landing folder is complete.",
    )

    max_upload_bytes: int = Field(
        100_000_000, ge=1, description="Bytes of a CSV that is handed in over HTTP."
    )
    csv_max_rows: int = Field(_CSV.max_rows, ge=1, description="Rows of a CSV.")
    csv_max_columns: int = Field(_CSV.max_columns, ge=1, description="Columns of a CSV.")
    csv_max_cells: int = Field(
        _CSV.max_cells,
        ge=1,
        description="Rows times columns of a CSV: short rows are filled up in the result.",
    )
    csv_max_references: int = Field(
        _CSV.max_references, ge=1, description="Image URLs in a CSV, with repeated ones."
    )
    csv_max_problems: int = Field(
        _CSV.max_problems, ge=1, description="Entries of a CSV that cannot be used; with more it is refused."
    )
    csv_timeout: float = Field(
        _CSV.timeout, gt=0, description="Seconds after which the reading of a CSV is ended."
    )
    csv_memory_bytes: int = Field(
        _CSV.memory_bytes,
        ge=200_000_000,
        description="Memory that the process that reads one CSV may take.",
    )
    api_tokens: Annotated[tuple[ApiToken, ...], NoDecode] = Field(
        (),
        description="Who may use the HTTP API: comma-separated `name:token`, or `name:token:admin` for one "
        "who sees the requests of all, and may log in to the Dagster UI. Unset: everybody may, on "
        "loopback only.",
    )
    allow_anonymous: bool = Field(
        False,
        description="Let the gateway and the Dagster UI listen on other addresses than loopback without "
        "tokens.",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="Key that callbacks are signed with, `whsec_` and base64 (docs/callbacks.md); "
        "unset: no callbacks.",
    )

    alert_url: str | None = Field(
        None,
        description="Where alerts are POSTed to as JSON: failed requests, files that nobody takes.",
    )
    time_zone: str = Field("UTC", description="Time zone of the schedules, such as Europe/Berlin.")
    retry_cron: str = Field(
        "0 * * * *", description="When `retry_failed_images_schedule` looks for images to try again."
    )
    retry_after: float = Field(
        3600,
        ge=0,
        description="Seconds from the end of a request to the first scheduled re-try of images that failed "
        "for a reason that may pass; twice as many to each further one.",
    )
    retry_for: float = Field(
        7 * 24 * 3600, ge=0, description="Seconds after which a request is no longer re-tried by schedule."
    )
    refresh_cron: str = Field(
        "0 3 * * *", description="When `refresh_images_schedule` looks for images to ask for again."
    )
    refresh_after: float = Field(
        30 * 24 * 3600,
        ge=0,
        description="Seconds since its last check after which an image is refreshed by schedule; no fewer "
        "than IMAGI_REUSE_FOR.",
    )
    recompress_cron: str = Field(
        "0 4 * * *",
        description="When `recompress_images_schedule` looks for images of an older compression.",
    )
    retention_days: float | None = Field(
        None,
        ge=1,
        description="Days after which a request is purged, with the images that no other request refers to; "
        "unset: everything is kept.",
    )
    purge_cron: str = Field(
        "30 2 * * *", description="When `purge_schedule` looks for what is past its retention."
    )

    @field_validator("storage")
    @classmethod
    def _without_login(cls, value: str) -> str:
        # It is shown in results, metadata and errors.
        if "://" in value and "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "write no login into the URL; for S3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_variables(cls, values: Any) -> Any:
        known = [*map(variable, cls.model_fields), TOKEN_VARIABLE]
        for name, value in os.environ.items():
            is_ours = name.startswith(ENV_PREFIX) and value and not _OF_KUBERNETES.fullmatch(name)
            if is_ours and name not in known:
                nearest = difflib.get_close_matches(name, known, n=1)
                advice = f"Did you mean {nearest[0]}?" if nearest else "docs/settings.md lists all."
                facts = {"told": f"There is no setting {name}. {advice}"}
                raise PydanticCustomError("unknown_variable", "{told}", facts)
        return values

    @field_validator("time_zone")
    @classmethod
    def _known_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("write the name of a time zone, such as Europe/Berlin") from error
        return value

    @field_validator("allowed_networks", mode="before")
    @classmethod
    def _split_networks(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("public_url", "gateway_url", "dagster_url", "dagster_ui_url")
    @classmethod
    def _without_trailing_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else value

    @field_validator("api_tokens", mode="before")
    @classmethod
    def _split_tokens(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        entries = [part.strip().split(":") for part in value.split(",") if part.strip()]
        if not all(2 <= len(parts) <= 3 and parts[0] and parts[2:] in ([], ["admin"]) for parts in entries):
            raise ValueError("write name:token or name:token:admin, separated by commas")
        names, tokens = {parts[0] for parts in entries}, {parts[1] for parts in entries}
        if min(map(len, tokens), default=SHORTEST_TOKEN) < SHORTEST_TOKEN:
            raise ValueError(f"a token must have at least {SHORTEST_TOKEN} characters")
        if len(names) < len(entries) or len(tokens) < len(entries):
            raise ValueError("give each name once, and each token once")
        return tuple({"name": parts[0], "secret": parts[1], "is_admin": len(parts) == 3} for parts in entries)

    @field_validator("webhook_secret")
    @classmethod
    def _usable_secret(cls, value: SecretStr | None) -> SecretStr | None:
        encoded = value.get_secret_value().removeprefix("whsec_") if value else ""
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise ValueError("write whsec_ and the key in base64") from error
        if value and not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
            raise ValueError(f"the key must have {SHORTEST_KEY} to {LONGEST_KEY} bytes")
        return value

    @property
    def compression(self) -> CompressionSettings:
        """Return the part that decides what a compressed image looks like."""
        return CompressionSettings(
            preset=self.preset,
            quality=self.quality,
            output_format=self.output_format,
            longest_side=self.longest_side,
            max_pixels=self.max_pixels,
            png=self.png,
        )

    @property
    def fetch_limits(self) -> FetchLimits:
        """Return the part that bounds one exchange over HTTP."""
        return FetchLimits(
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            deadline=self.download_deadline,
            max_bytes=self.max_source_bytes,
            attempts=self.attempts,
            max_retry_after=self.max_retry_after,
            allowed_networks=self.allowed_networks,
            user_agent=self.user_agent or own_user_agent(),
            sends_origin_as_referer=self.referer == "origin",
        )

    @property
    def csv_limits(self) -> CsvLimits:
        """Return the part that bounds the reading of a CSV."""
        return CsvLimits(
            max_rows=self.csv_max_rows,
            max_columns=self.csv_max_columns,
            max_cells=self.csv_max_cells,
            max_references=self.csv_max_references,
            max_problems=self.csv_max_problems,
            timeout=self.csv_timeout,
            memory_bytes=self.csv_memory_bytes,
        )

    @property
    def engine_limits(self) -> EngineLimits:
        """Return the part that bounds what the engine does at the same time."""
        return EngineLimits(
            fetching=self.fetch_limits,
            reuse_for=self.reuse_for,
            download_threads=self.download_threads,
            connections_per_host=self.connections_per_host,
            bytes_in_flight=self.bytes_in_flight,
            codec_processes=self.codec_processes,
            codec_timeout=self.codec_timeout,
            pixels_in_flight=self.pixels_in_flight,
        )

    @property
    def ui_url(self) -> str:
        """Return where people reach the Dagster UI; without the login of the gateway in `dagster_url`."""
        return self.dagster_ui_url or re.sub("//[^/@]*@", "//", self.dagster_url)


def default_folder() -> Path:
    """Return the folder of the embedded default installation, `~/imagi`."""
    return Path.home() / "imagi"


def variable(field: str) -> str:
    """Return the environment variable of a field."""
    return ENV_PREFIX + field.upper()


def settings_table() -> str:
    """Return all settings as a Markdown table."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "~/imagi" if name == "storage" else field.default
        shown = "" if default in (None, (), PydanticUndefined) else f"`{default}`"
        lines.append(f"| `{variable(name)}` | {shown} | {field.description} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(settings_table())  # noqa: T201 - this is the output
