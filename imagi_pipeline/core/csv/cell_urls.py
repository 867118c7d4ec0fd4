"""Find image URLs in the text of one cell: which kind of text it is, and where each URL begins and ends.

Nothing here knows of tables, rows or columns. All functions take time in proportion to the text.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from itertools import pairwise
from typing import NamedTuple

from imagi_pipeline.core.csv import markup
from imagi_pipeline.core.csv.placeholders import is_no_part_of_a_url, is_placeholder
from imagi_pipeline.core.csv.urls import (
    BASE64,
    BLANKS,
    EXTENSION,
    LOCAL_PATH,
    MAX_URL_BYTES,
    PLAIN_URL,
    has_image_extension,
)

# These are what people type between URLs, and the quotes they put around them, in all languages.
_LISTING = ",;|，；、｜،؛"
_QUOTES = "\"'`<>„“”«»‹›‘’‚「」『』《》〈〉【】〝〞〟＂❝❞″"
_PADDING = BLANKS + _LISTING + _QUOTES
_OPENING_OF = {")": "(", "]": "[", "}": "{"}

_HOST = r"(?:(?:[a-z][a-z0-9+.-]*+:)?//[^/?#]*+)?+"
_CLOSING = rf"[{_QUOTES})\]}}]*+"
_ENDS_AS_IMAGE = re.compile(rf"{_HOST}[^?#]*{EXTENSION}{_CLOSING}", re.IGNORECASE)
_REST_ENDS_AS_IMAGE = re.compile(rf"[^?#]*{EXTENSION}{_CLOSING}", re.IGNORECASE)
_PAGE = re.compile(
    r"https?://[^/?#]++/?|https?://[^/?#]++/[^?#]*\.(?:html?|php|aspx?|jsp)(?:[?#].*)?", re.IGNORECASE
)

_SEPARATORS = re.compile(rf"[\s{_LISTING}]++")
_SEPARATORS_KEPT = re.compile(rf"([\s{_LISTING}]++)")
_BETWEEN_URLS = re.compile(r"(?<![\s,;|])[\s,;|]++(?=https?://)")
_IMAGE_URL_WITH_COMMAS = re.compile(
    rf"https?://(?:(?!{EXTENSION}[,{_LISTING}])[^\s;|\"'`<>()\[\]{{}}?#\\])+{EXTENSION}", re.IGNORECASE
)
_LIST_SEPARATORS = re.compile(rf"[{_LISTING}\t\r\n]+")
_LINE_END = re.compile(r"[\r\n]")
# Markup between URLs, and escapes that nobody undid, end a URL, whatever the URL looks like.
_HARD_BREAK = re.compile(
    r"</?[a-z][\w:-]*+\s*+/?>|\[/?(?:img|url)\]|(?<!&)&&++(?=\s*+(?:[a-z][a-z0-9+.-]*+:)?//)"
    r"|_x000[9AD]_|(?:&(?:nbsp|#0{0,5}(?:10|13|44|59|124|160));|(?:\\r)?\\[nrt])(?=\s*+https?://)",
    re.IGNORECASE,
)
_BEGINS_HARD_BREAK = re.compile(r"[<\[\\]|&&|&(?:nbsp|#)|_x000", re.IGNORECASE)
# Here another URL begins right behind the extension of an image: x.jpghttps://, x.jpg#https://, x.jpg%0Ahttps://.
_NO_SEPARATOR = re.compile(
    rf"({EXTENSION})(?:%(?:0[AD9]|2C|3B|7C|20)|[#~^*+!$:@%\u200b\u2060\ufeff])*+(?=https?://)", re.IGNORECASE
)
_LABEL = re.compile(r"(?:^|(?<=[;|\n])|(?<=, )|(?<=,))\s*+[^\W\d_][\w .-]{0,40}:(?=https?:[\\/]{2})")
_NAMED = re.compile(r"(?:^|(?<=[;|\n,]))\s*+[^\W\d_][\w .-]{0,40}=(?=https?:[\\/]{2})")
_ABOUT_A_URL = re.compile(r"\d++(?:\.\d++)?[wx]|!|(?:alt|title|desc|caption)", re.IGNORECASE)

# Behind "(" only where something stands before it: .../filters:watermark(https://...)/a.jpg is one URL.
_URL_START = re.compile(
    rf"(?:(?<![^\s{_LISTING}{_QUOTES}\[\]{{}}\u200b\u2060\ufeff])|(?<=^\()|(?<=[\s\]]\())"
    r"(?:(?:[a-z][a-z0-9+.-]*+:)?//(?!\s|$)|https?:[\\/]{2}(?!\s|$)|www\.(?=[\w-]++\.)"
    r"|data:[\w.+/-]*+(?:;[\w=.+-]++)*+,[^\s,;|\"'<>]*+)",
    re.IGNORECASE,
)
_END_OF_URL = re.compile(r"[\"<>`“”„«»「」『』《》〈〉【】〝〞〟＂❝❞″\r\n]")
_ATTACHMENT = re.compile(
    r"\((https?://[^\s()]++(?:\([^\s()]*+\)[^\s()]*+)*+)\)(?=\s*+(?:[,;]|$))", re.IGNORECASE
)
# A quote that nothing closes goes on to the end: else each quote in it would be read to the end again.
_QUOTED = re.compile(
    r"(?:'((?:[^'\\]|\\.|\\\Z)*+)(?:'|\Z)|\"((?:[^\"\\]|\\.|\\\Z)*+)(?:\"|\Z))(?P<colon>\s*+:)?", re.DOTALL
)
# Here a program escaped every quote, and nobody undid that: [\"https://...\"].
_ESCAPED_QUOTES = re.compile(r"\"?+((?:[^\"\\]|\\.)*+)\"?+", re.DOTALL)
_ESCAPED = re.compile(r"\\([\"\\/])")
_HTML_OR_QUOTE = re.compile(r"[<\"]")
_BEFORE_A_LABELLED_URL = re.compile(r"\W*+[\w.-]++(?:[ \t][\w.-]++){0,3}\s*+[:=|,;，；、(-]++[\s\"'`(\[]*+")
_MAY_BE_A_PLACE = re.compile(r"[/.:\\]")  # a URL, a path or the name of a file
_SHORTEST_EMBEDDED_IMAGE = 12  # characters of base64
_MOST_MISSES = 20  # items of one cell that are looked for in vain
_SCHEME_OR_FOLDER = re.compile(r"[a-z][a-z0-9+.-]*+:[\\/]|\\\\|\.{0,2}/\S", re.IGNORECASE)


class CellKind(Enum):
    """What a cell as a whole looks like. URL columns are found by this."""

    IMAGE_URL = auto()
    OTHER_URL = auto()
    PAGE_URL = auto()
    MARKUP = auto()  # HTML tags of images, with no text beside them
    UNUSABLE = auto()  # meant as an image, but no http(s) URL: a relative path, data:, file://
    TEXT = auto()


class _Listed(NamedTuple):
    """A list in a cell, divided into what is meant as a URL, and the text beside that."""

    items: list[str]
    texts: list[str]


def holds_url(text: str) -> bool:
    """Return whether a URL with a host, or a `data:` URL, begins anywhere in the text."""
    return _URL_START.search(text) is not None


def is_url_without_end(text: str) -> bool:
    """Return whether the text is the beginning of a URL whose path does not yet end in an image extension."""
    return _URL_START.match(text) is not None and _ENDS_AS_IMAGE.fullmatch(text) is None


def lists_other_things(cell: str) -> bool:
    """Return whether the cell lists other things besides URLs."""
    text = cell.strip(BLANKS)
    if _is_clean_list(text) or _structured(text) is not None:
        return False
    return any(not is_placeholder(other) for other in _listed(text).texts)


def classify(cell: str) -> CellKind:
    """Return what kind of value the cell holds, judged by its first item; prose with a URL in it is text."""
    text = _as_meant(cell)
    if markup.html_images(text):
        return CellKind.TEXT if markup.text_outside_tags(text) else CellKind.MARKUP
    may_be_url = len(text) >= _SHORTEST_EMBEDDED_IMAGE or _MAY_BE_A_PLACE.search(text)
    items = find_items(text) if may_be_url else []
    if not items or _is_prose(text):
        return CellKind.TEXT
    first = items[0]
    if first.lower().startswith(("http://", "https://", "//")):
        if has_image_extension(first):
            return CellKind.IMAGE_URL
        return CellKind.PAGE_URL if _PAGE.fullmatch(first) else CellKind.OTHER_URL
    if _URL_START.match(first) or BASE64.fullmatch(first) or LOCAL_PATH.match(first):
        return CellKind.UNUSABLE
    return CellKind.UNUSABLE if _is_image_path(first) else CellKind.TEXT


def find_items(cell: str) -> list[str]:
    """Return what the cell lists, in order and as written: URLs, and whatever is meant as one.

    It understands lists separated by comma, semicolon, `|`, white space, newlines, `<br>` or `&&`; JSON and
    Python literals; `name (url)` and `name: url` pairs; HTML, Markdown and formulas that show images. Text
    besides URLs is no item, nor is what says that there is no image, nor a link in HTML. A cell without
    anything like a URL is one item for each part of its list. A separator inside a URL does not end it: a
    URL that has not reached an image extension goes on until the next URL.
    """
    text = _as_meant(cell)
    pieces = _SEPARATORS.split(text)
    is_plain = text.count("//") == len(pieces) and "&&" not in text and "&nbsp;" not in text
    is_plain = is_plain and "_x000" not in text
    if is_plain and all(map(PLAIN_URL.fullmatch, pieces)):
        return pieces
    if is_placeholder(text):
        return []
    if BASE64.fullmatch(text):
        return [text]
    pieces = _BETWEEN_URLS.split(text)
    if text.count("//") == len(pieces) and all(map(_IMAGE_URL_WITH_COMMAS.fullmatch, pieces)):
        return pieces
    found = _structured(text)
    if found is None:
        if markup.begins_as_html(text) and not holds_url(markup.text_outside_tags(text)):
            return []
        listed = _listed(text)
        found = listed.items or listed.texts
    return [item for item in found if not is_placeholder(item)]


def _as_meant(cell: str) -> str:
    """Take off blanks around the cell; undo what was escaped as a whole: HTML (`&lt;img ...&gt;`), quotes."""
    text = cell.strip(BLANKS)
    if "&lt;" in text and "<" not in text:
        return html.unescape(text)
    if "&quot;" in text and not _HTML_OR_QUOTE.search(text):
        return text.replace("&quot;", '"')
    if '\\"' in text and (escaped := _ESCAPED_QUOTES.fullmatch(text)):
        return _ESCAPED.sub(r"\1", escaped[1])
    return text


def _is_clean_list(text: str) -> bool:
    return all(map(PLAIN_URL.fullmatch, _SEPARATORS.split(text)))


def _is_prose(text: str) -> bool:
    if _structured(text) is not None:
        return False
    bare = text.lstrip(_PADDING + "([{")
    start = _URL_START.search(bare)
    if start is None or start.start() == 0:
        return False
    return _BEFORE_A_LABELLED_URL.fullmatch(bare, 0, start.start()) is None


def _is_image_path(text: str) -> bool:
    return _ENDS_AS_IMAGE.fullmatch(text) is not None or (
        text.startswith(("/", "./", "../"))
        and _SEPARATORS.search(text) is None
        and text.strip("/.") != ""  # more than what stands between two URLs
    )


def _is_meant_as_url(text: str) -> bool:
    return (
        _is_image_path(text)
        or _SCHEME_OR_FOLDER.match(text) is not None
        or _URL_START.match(text) is not None
        or BASE64.fullmatch(text) is not None
    )


# --- markup and literals


def _structured(text: str) -> list[str] | None:
    """Return the items of a cell that is more than a list; None when it is none, or names no image."""
    if spans := _markup_images(text):
        return [text[start:end] for start, end in spans]
    if text.startswith("="):
        return [text]
    if text.startswith(("[", "{")):
        return _literal_items(text)
    return _attachments(text) or None


def _markup_images(text: str) -> list[markup.Span]:
    return markup.html_images(text) or markup.formula_images(text) or markup.markdown_images(text)


def _literal_items(text: str) -> list[str] | None:
    try:
        return list(_json_items(json.loads(text)))
    except (ValueError, RecursionError):
        values = (match for match in _QUOTED.finditer(text) if not match["colon"])
        texts = ((match[1] or match[2] or "").strip(BLANKS) for match in values)
        found = [value for value in texts if _URL_START.match(value)]
        # Where a URL stands outside of quotes, the quotes are not those of a literal.
        return None if holds_url(_QUOTED.sub("", text)) else found or None


def _json_items(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for element in value:
            yield from _json_items(element)
    elif isinstance(value, dict):
        yield from _items_of_object(value)
    elif isinstance(value, str):
        yield value.strip(BLANKS)
    elif value:
        yield json.dumps(value, ensure_ascii=False)


def _items_of_object(value: dict[str, object]) -> list[str]:
    """Return the `url` or `src` of the object; else its values that are URLs, or the whole object."""
    url = value.get("url", value.get("src"))
    if isinstance(url, str):
        return [url.strip(BLANKS)]
    items = [item for part in value.values() for item in _json_items(part) if _is_meant_as_url(item)]
    return items or ([json.dumps(value, ensure_ascii=False)] if value else [])


def _attachments(text: str) -> list[str]:
    """Return the URLs of `name (url), name (url)`, as Airtable exports attachments."""
    if not text.endswith(")") or _URL_START.match(text):
        return []
    urls = _ATTACHMENT.findall(text)
    return urls if urls and not holds_url(_ATTACHMENT.sub("", text)) else []


# --- lists


def _listed(text: str) -> _Listed:
    if _BEGINS_HARD_BREAK.search(text):
        text = _HARD_BREAK.sub("\n", text)
    if text.count("://") > 1:
        text = _NO_SEPARATOR.sub(r"\1\n", text)
    if ":h" in text or ":H" in text:
        text = _LABEL.sub("\n", text)
    if "=h" in text and not _URL_START.match(text):  # in a URL it is a part of the query
        text = _NAMED.sub("\n", text)
    starts = [match.start() for match in _URL_START.finditer(text)]
    items: list[str] = []
    texts: list[str] = []

    def add(others: list[str]) -> None:
        for other in others:
            (items if _is_meant_as_url(other) else texts).append(other)

    add(_parts(text[: starts[0]] if starts else text))
    for start, end in pairwise([*starts, len(text)]):
        url, rest = _url_and_rest(text[start:end])
        items.append(url)
        add(_parts(rest))
    return _Listed(items, texts)


def _url_and_rest(chunk: str) -> tuple[str, str]:
    """Return the URL at the start of the chunk, and what stands between it and the next URL."""
    if chunk[:5].lower() == "data:":
        return _unwrapped(chunk), ""
    end = _END_OF_URL.search(chunk)
    line = chunk[: end.start()] if end else chunk
    length = _url_length(line)
    return _unwrapped(line[:length]), chunk[length:]


def _url_length(line: str) -> int:
    first, *others = _SEPARATORS_KEPT.split(line.rstrip(_PADDING))
    length = len(first)
    ends_as_image = _ENDS_AS_IMAGE.fullmatch(first) is not None
    has_query = "?" in first
    is_query_of_image = has_query and _ENDS_AS_IMAGE.fullmatch(first.partition("?")[0]) is not None
    for separator, piece in zip(others[::2], others[1::2], strict=True):
        if length > MAX_URL_BYTES:
            return len(line)
        if ends_as_image or _says_something_else(separator, piece):
            break
        piece_ends_as_image = _REST_ENDS_AS_IMAGE.fullmatch(piece) is not None
        if is_query_of_image and piece_ends_as_image:
            break
        length += len(separator) + len(piece)
        if "?" in piece and not has_query:
            has_query = True
            is_query_of_image = _REST_ENDS_AS_IMAGE.fullmatch(piece.partition("?")[0]) is not None
        ends_as_image = not has_query and piece_ends_as_image
    return length


def _says_something_else(separator: str, piece: str) -> bool:
    """Return whether a piece that follows a URL is text of its own, and not the rest of the URL."""
    if _ABOUT_A_URL.fullmatch(piece):
        return True
    return not separator.isspace() and is_no_part_of_a_url(piece.strip(_PADDING))


def _parts(text: str) -> list[str]:
    parts: list[str] = []
    if not text.strip(_PADDING):
        return parts
    for part in _LIST_SEPARATORS.split(text):
        words = part.split()
        all_images = len(words) > 1 and all(map(_ENDS_AS_IMAGE.fullmatch, words))
        parts += map(_unwrapped, words if all_images else [part])
    return [part for part in parts if part]


def _unwrapped(item: str) -> str:
    """Return the item without the quotes, separators and unbalanced brackets around it."""
    item = item.strip(_PADDING).lstrip(_PADDING + "([{")
    if len(item) > MAX_URL_BYTES:  # too long to be used in any case
        return item
    surplus = {mark: item.count(mark) - item.count(opening) for mark, opening in _OPENING_OF.items()}
    end = len(item)
    while end and (item[end - 1] in _PADDING or surplus.get(item[end - 1], 0) > 0):
        if item[end - 1] in surplus:
            surplus[item[end - 1]] -= 1
        end -= 1
    return item[:end]


# --- new URLs in the place of old ones


def replaced(cell: str, new: Mapping[int, str]) -> str:
    """Return the cell with other URLs for some of its items, by their position in `find_items`, counted from
    1.

    An item that is not written in the cell as it was read (because of escapes in JSON) is left as it is.
    """
    parts: list[str] = []
    done = 0
    for position, (start, end) in enumerate(_spans(cell), start=1):
        if position in new and start < end:
            parts += [cell[done:start], new[position]]
            done = end
    return "".join([*parts, cell[done:]])


def _spans(cell: str) -> list[tuple[int, int]]:
    """Return where each item of the cell stands; an empty span for one that is not found."""
    before = len(cell) - len(cell.lstrip(BLANKS))
    text = cell.strip(BLANKS)
    if text == _as_meant(cell) and (spans := _markup_images(text)):
        kept = (span for span in spans if not is_placeholder(text[span[0] : span[1]]))
        return [(before + start, before + end) for start, end in kept]
    found: list[tuple[int, int]] = []
    position, misses = before, 0
    for item in find_items(cell):
        for written in (item, item.replace("/", "\\/")):
            start = cell.find(written, position) if misses < _MOST_MISSES else -1
            if start >= 0:
                position = start + len(written)
                found.append((start, position))
                break
        else:
            misses += 1
            found.append((0, 0))
    return found
