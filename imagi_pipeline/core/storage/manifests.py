"""Read and write the manifest of a request: what was handed in together with its CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace

from imagi_pipeline.core.errors import OptionError
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.options import CompressionOptions
from imagi_pipeline.core.storage.keys import image_key

MANIFEST = "request.json"
LAST_TIME = 253_402_300_800  # the year 10000


def safe_file_name(name: str) -> str:
    """Return a file name that stays in its folder and on every file system, as close to `name` as can be."""
    readable = name.encode("utf-8", "replace").decode()  # a name in another encoding has surrogates
    base = re.split(r"[/\\]", readable)[-1]
    shown = "".join(each if each.isprintable() else " " if each.isspace() else "_" for each in base)
    clean = re.sub(r'[<>:"|?*]', "_", shown).strip(" .")
    while len(clean.encode()) > 200:
        stem, dot, suffix = clean.rpartition(".")
        clean = f"{stem[:-1]}.{suffix}" if dot and stem else clean[:-1]
    return clean if clean not in ("", MANIFEST) else "upload.csv"


@dataclass(frozen=True)
class RequestManifest:
    """What came with a CSV: its file name, the columns to search, the base of relative URLs, and options.

    The name is made safe, whoever gave it: it becomes part of paths. `owner` is the name of the token that
    it was handed in with, `created` when, in seconds since 1970; `callback_url` is told its end. `in_place`
    wants the new URLs in the place of the old ones; with `to_outbox`, which dropped files have, the results
    are delivered into the outbox. `options` are what the sender chose for the images,
    `settings` what they are made with (an identity of CompressionSettings): it is settled when the request
    is accepted, so None in one that is not accepted yet, or that was accepted by a version without options.
    """

    name: str
    url_columns: tuple[str, ...] = ()
    base_url: str | None = None
    owner: str | None = None
    created: float | None = None
    callback_url: str | None = None
    in_place: bool = False
    to_outbox: bool = False
    options: CompressionOptions = field(default_factory=CompressionOptions)
    settings: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", safe_file_name(self.name))

    def settled(self, defaults: CompressionSettings) -> RequestManifest:
        """Return the manifest with the settings of its images: its options, else today's defaults."""
        return replace(self, settings=self.options.over(defaults).identity)

    def image_key(self, url: str) -> str:
        """Return the name of the image that a URL of this request stands for."""
        return image_key(url, self.settings)

    def to_json(self) -> bytes:
        """Return the manifest as it lies beside the CSV."""
        facts = {**asdict(self), "options": self.options.chosen}
        return json.dumps(facts, ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> RequestManifest:
        """Return the inverse of `to_json`; unknown keys, of a newer version, are ignored.

        Raises ValueError when it is no such manifest.
        """
        known = {field.name for field in fields(cls)}
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError(f"{MANIFEST} must be a JSON object")  # noqa: TRY004 - bad data, no bad call
        values = {key: value for key, value in document.items() if key in known}
        columns = values.get("url_columns") or []
        texts = [
            values.get("name"),
            *(values.get(key) or "" for key in ("base_url", "owner", "callback_url")),
        ]
        texts += columns if isinstance(columns, list) else [None]
        is_valid = _is_time(values.get("created")) and all(
            isinstance(values.get(key, False), bool) for key in ("in_place", "to_outbox")
        )
        if not (is_valid and all(isinstance(text, str) for text in texts)):
            expected = (
                "a name, texts, texts as url_columns, seconds since 1970 as created, a boolean as in_place"
            )
            raise ValueError(f"{MANIFEST} must have {expected}")
        return cls(
            **{
                **values,
                "url_columns": tuple(columns),
                "options": _options(values.get("options") or {}),
                "settings": _settings(values.get("settings")),
            }
        )


def _options(given: object) -> CompressionOptions:
    if not isinstance(given, Mapping):
        raise ValueError(f"{MANIFEST} must have an object as options")  # noqa: TRY004 - bad data, no bad call
    try:
        return CompressionOptions.parse(given)
    except OptionError as error:
        raise ValueError(f"{MANIFEST}: {error.message}") from error


def _settings(text: object) -> str | None:
    """Refuse unknown settings: they are of another version, and this one cannot make these images."""
    return None if text is None else CompressionSettings.of(str(text)).identity


def _is_time(value: object) -> bool:
    """Return whether this is None, or a time in seconds since 1970 that `datetime` can show."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0 <= value < LAST_TIME
    return value is None
