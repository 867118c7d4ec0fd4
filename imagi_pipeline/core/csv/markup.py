"""Find URLs of images inside the markup of one cell: HTML, Markdown and spreadsheet formulas.

Each function returns where the URLs stand in the text, so that they can be replaced there, or an empty list
when the text is no such markup or names no image. All take time in proportion to the text.
"""

from __future__ import annotations

import re
from itertools import pairwise

Span = tuple[int, int]
"""Where something begins and ends in a text."""

_IMAGE_TAG = re.compile(r"<(?:img|source|amp-img|image|picture)\b", re.IGNORECASE)
_BEGINNING_OF_HTML = re.compile(
    r"<(?:p|div|span|h[1-6]|ul|ol|table|section|article|strong|b|em|i|br|meta|style|!--)(?![\w-])",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(
    r"(?<![\w-])(src|srcset|data-src|data-srcset|data-original|data-lazy-src|href)\s*+=\s*+"
    r"(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'<>]++))",
    re.IGNORECASE,
)
_BACKGROUND = re.compile(
    r"\bbackground(?:-image)?\s*+:[^:;{}<>]*?\burl\(\s*+(?:&quot;|&#39;|['\"])?"
    r"((?:https?:)?//(?:[^\s'\"()<>&]|&(?!quot;|#39;))++)",
    re.IGNORECASE,
)
_CANDIDATE = re.compile(r"[\s,]*+(\S++)(?:\s++[\d.]++[wxh](?![^\s,]))*+", re.IGNORECASE)
_IMAGE_CALL = re.compile(
    r"(?<![\w.])(?:_xlfn\.)?(?:IMAGE|BILD|IMAGEN|IMAGEM|IMMAGINE|AFBEELDING|OBRAZ|OBRÁZEK|BILLEDE|KUVA|KÉP|GÖRSEL)"
    r"\s*+\(\s*+\"([^\"]*+)\"",
    re.IGNORECASE,
)
_MARK_IN_TAG = re.compile("[\"'>]")
_QUOTED_URL = re.compile(r"\"\s*+((?:https?:)?//[^\"]++)\"", re.IGNORECASE)
_MARKDOWN_IMAGE = re.compile(r"!\[[^\[\]]*+\]\(\s*+<?([^\s()<>]++(?:\([^\s()<>]*+\)[^\s()<>]*+)*+)")
_MARKDOWN_LINK = re.compile(r"\[[^\[\]]*+\]\(\s*+<?([^\s()<>]++(?:\([^\s()<>]*+\)[^\s()<>]*+)*+)")


def html_images(text: str) -> list[Span]:
    """Return the URLs of `src` and `srcset` in tags that show images, and of backgrounds in a `style`."""
    spans: list[Span] = []
    if "<" not in text:
        return spans
    starts = [match.start() for match in _IMAGE_TAG.finditer(text)]
    for start, limit in pairwise([*starts, len(text)]):
        spans += _spans_in_tag(text, start, limit)
    if "url(" in text:
        spans = sorted({*spans, *(match.span(1) for match in _BACKGROUND.finditer(text))})
    return spans


def begins_as_html(text: str) -> bool:
    """Return whether the text is HTML with words for readers, such as the description of a product."""
    return _BEGINNING_OF_HTML.match(text) is not None


def text_outside_tags(text: str) -> str:
    """Return the text that a reader of the HTML sees."""
    parts = text.split("<")
    return " ".join([parts[0], *(part.partition(">")[2] for part in parts[1:])]).strip()


def formula_images(text: str) -> list[Span]:
    """Return the URLs in `=IMAGE("...")`; if there are none, those in formulas like `=HYPERLINK("...")`."""
    if not text.startswith("="):
        return []
    if _IMAGE_CALL.search(text):
        return [match.span(1) for match in _IMAGE_CALL.finditer(text)]
    first: dict[str, Span] = {}  # what a link shows is often its URL again
    for match in _QUOTED_URL.finditer(text):
        first.setdefault(match[1], match.span(1))
    return list(first.values())


def markdown_images(text: str) -> list[Span]:
    """Return the URLs in `![alt](...)`; if there are none, those in `[text](...)`."""
    if "](" not in text:
        return []
    pattern = _MARKDOWN_IMAGE if _MARKDOWN_IMAGE.search(text) else _MARKDOWN_LINK
    return [match.span(1) for match in pattern.finditer(text)]


def _spans_in_tag(text: str, start: int, limit: int) -> list[Span]:
    end = _end_of_tag(text, start, limit)
    is_image = text[start : start + 6].lower() == "<image"
    spans: list[Span] = []
    lazy: list[Span] = []
    for match in _ATTRIBUTE.finditer(text, start, end):
        name = match[1].lower()
        span = next(match.span(group) for group in (2, 3, 4) if match[group] is not None)
        if name.endswith("srcset"):
            (lazy if name.startswith("data-") else spans).extend(_candidates(text, *span))
        elif name == "src" or (name == "href" and is_image):
            spans.append(span)
        elif name != "href":
            lazy.append(span)
    shown = [span for span in spans if span[0] < span[1] and text[span[0] : span[0] + 5].lower() != "data:"]
    # Pages that load images late have a tiny picture in `src` and the image in `data-src`.
    return shown or lazy or spans


def _end_of_tag(text: str, start: int, limit: int) -> int:
    """Return the position behind the tag's `>`, the first outside of quotes; `limit` when there is none."""
    quote = ""
    for match in _MARK_IN_TAG.finditer(text, start, limit):
        mark = match[0]
        if quote:
            quote = "" if mark == quote else quote
        elif mark == ">":
            return match.end()
        elif text[match.start() - 1] == "=":
            quote = mark
    return limit


def _candidates(text: str, start: int, end: int) -> list[Span]:
    """Return the URLs of a `srcset`: each ends at white space, or at a comma, as in the HTML standard."""
    spans: list[Span] = []
    while match := _CANDIDATE.match(text, start, end):
        first, last = match.span(1)
        spans.append((first, last - (len(match[1]) - len(match[1].rstrip(",")))))
        start = match.end()
    return spans
