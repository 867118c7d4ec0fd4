"""What compression has saved in all requests, by host and by format of the source."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pandas as pd

COLUMNS = ["host", "source_format", "images", "bytes_before", "bytes_after", "savings_percent"]

_GROUPS = ["host", "source_format"]
_READ = ["url", "key", "source_format", "source_bytes", "bytes"]
_HOST = r"^https?://(?:[^/?#]*@)?(\[[^\]]*\]|[^/?#:]*)"


def savings_by_host(reports: Iterable[bytes]) -> pd.DataFrame:
    """Return the savings of the images in some reports, those that saved the most bytes first.

    One row per host and source format: images, bytes of the sources and of the compressed copies, and the
    share that was saved, in percent. An image that several requests name counts once, as the last of these
    reports has it; images without a copy do not count.
    """
    images = pd.concat([pd.DataFrame(columns=_READ), *map(_with_copy, reports)])
    images = images.drop_duplicates("key", keep="last")
    images["host"] = images["url"].str.extract(_HOST, expand=False).str.lower()
    rows = (
        images.astype({"source_bytes": "int64", "bytes": "int64"})
        .groupby(_GROUPS, as_index=False)
        .agg(images=("key", "size"), bytes_before=("source_bytes", "sum"), bytes_after=("bytes", "sum"))
    )
    saved = rows["bytes_before"] - rows["bytes_after"]
    rows["savings_percent"] = (100 * saved / rows["bytes_before"]).round(1)
    return rows.loc[saved.sort_values(ascending=False, kind="stable").index, COLUMNS].reset_index(drop=True)


def _with_copy(report: bytes) -> pd.DataFrame:
    images = pd.read_csv(io.BytesIO(report), usecols=_READ, dtype=str, keep_default_na=False)
    return images[images["bytes"] != ""]
