"""Remove what a picture does not need to be shown from the bytes of an image file, without decoding it.

EXIF (GPS positions, maker notes, thumbnails), XMP, IPTC, comments and whatever follows the end of the image
go; what a viewer needs stays. Only what is known to be needed is kept, so unknown kinds of metadata go too.
"""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from collections.abc import Callable, Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_ICC_IN_JPEG = b"ICC_PROFILE\0"
_NEXT_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_STANDALONE_JPEG_MARKERS = {0x01, *range(0xD0, 0xD8)}
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP2, _APP14 = 0xE0, 0xE2, 0xEE
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_FRAMES_SHOWN = {0xC0, 0xC1, 0xC2}  # coded by Huffman, sequential or progressive
_JFIF_WITHOUT_THUMBNAIL = 14
_DHT, _DQT, _DRI = 0xC4, 0xDB, 0xDD
_ADOBE_LENGTH = 12

# The lengths that the specification allows; None: any.
_PNG_CHUNK_LENGTHS: dict[bytes, range | set[int] | None] = {
    **{b"IHDR": {13}, b"PLTE": range(3, 769, 3), b"IDAT": None, b"IEND": {0}, b"tRNS": range(1, 257)},
    **{b"bKGD": {1, 2, 6}, b"pHYs": {9}, b"gAMA": {4}, b"cHRM": {32}, b"sRGB": {1}, b"sBIT": range(1, 5)},
    **{b"cICP": {4}, b"mDCV": {24}, b"cLLI": {8}, b"acTL": {8}, b"fcTL": {26}, b"fdAT": None},
}
PNG_CHUNKS_KEPT = frozenset(_PNG_CHUNK_LENGTHS)
_PNG_CHUNKS_BEHIND_PIXELS = {b"IDAT", b"fcTL", b"fdAT", b"IEND"}

_INFLATED_AT_ONCE = 256 * 1024

_WEBP_CHUNKS_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"}
_WEBP_FRAME_CHUNKS_KEPT = {b"VP8 ", b"VP8L", b"ALPH"}
_WEBP_HEADER, _WEBP_ANIMATION_HEADER, _WEBP_FRAME_HEADER = 10, 6, 16
_WEBP_ICC_FLAG, _WEBP_METADATA_FLAGS = 0x20, 0x0C

_GIF_EXTENSION, _GIF_IMAGE, _GIF_TRAILER = 0x21, 0x2C, 0x3B
_GIF_CONTROL = b"\x21\xf9\x04"
_GIF_APPLICATIONS_KEPT = (b"\x21\xff\x0bNETSCAPE2.0\x03\x01", b"\x21\xff\x0bANIMEXTS1.0\x03\x01")
_GIF_CONTROL_LENGTH, _GIF_LOOP_LENGTH = 7, 18

_UNKNOWN_BOX = b"unknown"
_TEXT_ITEMS = {b"mime"}
_PIXEL_ITEMS = {b"av01", b"grid", b"iovl", b"iden", b"tmap"}
_HANDLER_LENGTH = 24
# This may be in a box, by the type of the box; at the top, in no box.
_AVIF_BOXES: dict[bytes, set[bytes]] = {
    b"": {b"ftyp", b"meta", b"moov", b"mdat"},
    b"meta": {b"hdlr", b"pitm", b"iloc", b"iinf", b"iprp", b"iref", b"idat", b"dinf", b"grpl"},
    b"moov": {b"mvhd", b"trak"},
    b"trak": {b"tkhd", b"edts", b"mdia", b"tref", b"meta"},
    b"mdia": {b"mdhd", b"hdlr", b"minf"},
    b"minf": {b"vmhd", b"nmhd", b"dinf", b"stbl", b"hdlr"},
}

_EMPTY_EXIF_ITEM = b"\0\0\0\0II*\0\x08\0\0\0" + bytes(6)


def strip_metadata(data: bytes, image_format: str, *, keep_icc: bool = False) -> bytes:
    """Return the same image (JPEG, PNG, WEBP, GIF or AVIF) without metadata; its pixels are not touched.

    `keep_icc` leaves the colour profile in, for pixels that are not in sRGB. An AVIF file keeps its length
    and its profile: the metadata is blanked in place. Raises ValueError when the structure of the file cannot
    be followed.
    """
    try:
        return _STRIPPERS[image_format](data, keep_icc)
    except (IndexError, struct.error) as error:
        raise ValueError(f"{image_format} file ends within its structure") from error


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type of each chunk of a PNG file up to IEND, and the whole chunk with length and checksum."""
    if not data.startswith(PNG_SIGNATURE):
        raise ValueError("not a PNG file")
    position = len(PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        yield kind, _slice(data, position, end)
        position = end


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each chunk of a WebP file, not looking into animation frames."""
    riff, size, webp = struct.unpack_from("<4sI4s", data)
    if (riff, webp) != (b"RIFF", b"WEBP"):
        raise ValueError("not a WebP file")
    yield from _riff_chunks(data, 12, min(len(data), 8 + size))


def _riff_chunks(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, _slice(data, position + 8, position + 8 + length)
        position += 8 + length + length % 2


def _strip_jpeg(data: bytes, keep_icc: bool) -> bytes:
    if data[:2] != bytes((0xFF, _SOI)):
        raise ValueError("not a JPEG file")
    if _unused_jpeg_tables(data):
        raise ValueError("tables that no pixel needs")
    kept = [data[:2]]
    position = 2
    while position < len(data):
        marker, start = _jpeg_marker(data, position)
        if marker == _EOI:
            break
        end = start
        if marker not in _STANDALONE_JPEG_MARKERS:
            (length,) = struct.unpack_from(">H", data, start)
            end += length
        segment = _kept_jpeg_segment(marker, _slice(data, start, end), keep_icc)
        if segment is not None:
            kept.append(bytes((0xFF, marker)) + segment)
        if marker in _JPEG_FRAMES and marker not in _JPEG_FRAMES_SHOWN:
            raise ValueError("a kind of JPEG that browsers do not show")
        position = end
        if marker == _SOS:
            position = _end_of_scan(data, end)
            kept.append(data[end:position])
    # A complete picture may lack its end marker; some viewers insist on it.
    return b"".join([*kept, bytes((0xFF, _EOI))])


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the segment, its length first, of each segment of a JPEG file up to its end."""
    position = 2
    while position < len(data):
        marker, start = _jpeg_marker(data, position)
        if marker == _EOI:
            return
        end = start
        if marker not in _STANDALONE_JPEG_MARKERS:
            end += struct.unpack_from(">H", data, start)[0]
        yield marker, _slice(data, start, end)
        position = _end_of_scan(data, end) if marker == _SOS else end


def _jpeg_marker(data: bytes, position: int) -> tuple[int, int]:
    """Return the marker at a position, and where it ends; any number of 0xFF may fill the space before it."""
    if data[position] != 0xFF:
        raise ValueError("no JPEG marker where one must be")
    while data[position] == 0xFF:
        position += 1
    return data[position], position + 1


def _end_of_scan(data: bytes, position: int) -> int:
    following = _NEXT_JPEG_MARKER.search(data, position)
    return following.start() if following else len(data)


def _kept_jpeg_segment(marker: int, segment: bytes, keep_icc: bool) -> bytes | None:
    """Return the segment, its length first, as it is written; None to leave it out."""
    body = segment[2:]
    if marker == _APP0:
        return _jfif_without_thumbnail(body)
    if marker == _APP2:
        return segment if keep_icc and body.startswith(_ICC_IN_JPEG) else None
    if marker == _APP14:
        if not body.startswith(b"Adobe") or len(body) < _ADOBE_LENGTH:
            return None
        return struct.pack(">H", 2 + _ADOBE_LENGTH) + body[:_ADOBE_LENGTH]
    if marker in _JPEG_FRAMES_SHOWN or marker in {_DHT, _DQT, _DRI, _SOS}:
        if not _is_jpeg_segment_of_its_length(marker, body):
            raise ValueError("a JPEG segment longer than what it has to hold")
        return segment
    return None


def _is_jpeg_segment_of_its_length(marker: int, body: bytes) -> bool:
    if marker in _JPEG_FRAMES_SHOWN:
        return len(body) == 6 + 3 * body[5]
    if marker == _SOS:
        return len(body) == 4 + 2 * body[0]
    if marker == _DRI:
        return len(body) == 2
    position = 0
    while position < len(body):
        if marker == _DQT:
            position += 129 if body[position] >> 4 else 65
        else:
            position += 17 + sum(body[position + 1 : position + 17])
    return position == len(body)


def _unused_jpeg_tables(data: bytes) -> bool:
    """Return whether a JPEG has tables that no component is decoded with: they can hold anything."""
    defined: set[tuple[int, int]] = set()
    used: set[tuple[int, int]] = set()
    for marker, segment in jpeg_segments(data):
        body = segment[2:]
        if marker in _JPEG_FRAMES_SHOWN:
            used |= {(_DQT, body[8 + 3 * number]) for number in range(body[5])}
        elif marker == _SOS:
            for number in range(body[0]):
                tables = body[2 + 2 * number]
                used |= {(_DHT, tables >> 4), (_DHT, 16 | (tables & 15))}
        elif marker in {_DQT, _DHT}:
            defined |= {(marker, table) for table in _jpeg_tables(marker, body)}
    return not defined <= used


def _jpeg_tables(marker: int, body: bytes) -> Iterator[int]:
    position = 0
    while position < len(body):
        if marker == _DQT:
            yield body[position] & 15
            position += 129 if body[position] >> 4 else 65
        else:
            yield body[position]
            position += 17 + sum(body[position + 1 : position + 17])


def _jfif_without_thumbnail(body: bytes) -> bytes | None:
    if not body.startswith(b"JFIF\0") or len(body) < _JFIF_WITHOUT_THUMBNAIL:
        return None
    length = 2 + _JFIF_WITHOUT_THUMBNAIL
    return struct.pack(">H", length) + body[: _JFIF_WITHOUT_THUMBNAIL - 2] + b"\0\0"


def _strip_png(data: bytes, keep_icc: bool) -> bytes:
    before: list[bytes] = []
    pixels: list[bytes] = []
    behind: list[bytes] = []
    for kind, chunk in png_chunks(data):
        if kind == b"IDAT":
            pixels.append(chunk[8:-4])
        elif not pixels:
            if _is_png_chunk_kept(kind, chunk) or (keep_icc and kind == b"iCCP"):
                before.append(chunk)
        elif kind in _PNG_CHUNKS_BEHIND_PIXELS and _is_png_chunk_kept(kind, chunk):
            behind.append(chunk)
    most = _most_bytes_inflated(data)
    shown = [_png_chunk(b"IDAT", part) for part in _pixels_alone(pixels, most)]
    first_number = sum(chunk[4:8] == b"fcTL" for chunk in before)
    return PNG_SIGNATURE + b"".join([*before, *shown, *_frames_alone(behind, first_number, most)])


def _frames_alone(chunks: list[bytes], number: int, most: int) -> Iterator[bytes]:
    """Yield the chunks after IDAT, with new numbers: frames lose what follows their compressed streams."""
    for is_pixels, group in itertools.groupby(chunks, key=lambda chunk: chunk[4:8] == b"fdAT"):
        if is_pixels:
            for part in _pixels_alone([chunk[12:-4] for chunk in group], most):
                yield _png_chunk(b"fdAT", struct.pack(">I", number) + part)
                number += 1
            continue
        for chunk in group:
            if chunk[4:8] == b"fcTL":
                yield _png_chunk(b"fcTL", struct.pack(">I", number) + chunk[12:-4])
                number += 1
            else:
                yield chunk


def _most_bytes_inflated(png: bytes) -> int:
    """Return an upper bound of the bytes of a PNG's pixels with their filter bytes, interlaced or not."""
    width, height = struct.unpack_from(">II", png, 16)
    return int(8 * (width + 2) * (height + 8))


def _is_png_chunk_kept(kind: bytes, chunk: bytes) -> bool:
    lengths = _PNG_CHUNK_LENGTHS.get(kind, set())
    return lengths is None or len(chunk) - 12 in lengths


def _pixels_alone(pixels: list[bytes], most: int) -> Iterator[bytes]:
    """Yield the parts of a compressed stream without what follows its end."""
    stream = zlib.decompressobj()
    for part in pixels:
        if stream.eof:
            return
        rest = part
        while rest and not stream.eof:
            try:
                most -= len(stream.decompress(rest, _INFLATED_AT_ONCE))
            except zlib.error as error:
                raise ValueError("pixels that cannot be decompressed") from error
            if most < 0:
                raise ValueError("more pixels than the header tells of")
            rest = stream.unconsumed_tail
        used = part[: len(part) - len(stream.unused_data)]
        if used:
            yield used


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _strip_webp(data: bytes, keep_icc: bool) -> bytes:
    kept = _WEBP_CHUNKS_KEPT | ({b"ICCP"} if keep_icc else set())
    dropped_flags = _WEBP_METADATA_FLAGS | (0 if keep_icc else _WEBP_ICC_FLAG)
    body = b"WEBP"
    for kind, content in webp_chunks(data):
        if kind not in kept:
            continue
        if kind == b"VP8X":
            flags = content[0] & ~dropped_flags
            body += _riff_chunk(kind, bytes((flags,)) + content[1:_WEBP_HEADER])
        elif kind == b"ANIM":
            body += _riff_chunk(kind, content[:_WEBP_ANIMATION_HEADER])
        elif kind == b"ANMF":
            body += _riff_chunk(kind, _frame_alone(content))
        else:
            body += _riff_chunk(kind, content)
    return _riff_chunk(b"RIFF", body)


def _frame_alone(frame: bytes) -> bytes:
    """Return an animation frame of WebP with its pixels and nothing else."""
    kept = frame[:_WEBP_FRAME_HEADER]
    for kind, content in _riff_chunks(frame, _WEBP_FRAME_HEADER, len(frame)):
        if kind in _WEBP_FRAME_CHUNKS_KEPT:
            kept += _riff_chunk(kind, content)
    return kept


def _riff_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _strip_gif(data: bytes, _keep_icc: bool) -> bytes:
    if data[:3] != b"GIF":
        raise ValueError("not a GIF file")
    position = gif_blocks_start(data)
    kept = [data[:position]]
    while data[position] != _GIF_TRAILER:
        end = end_of_gif_block(data, position)
        kept.append(_kept_gif_block(data[position:end]))
        position = end
    return b"".join([*kept, bytes((_GIF_TRAILER,))])


def gif_blocks_start(data: bytes) -> int:
    """Return where the first block of a GIF file begins, behind header and global colour table."""
    return 13 + _gif_colour_table_size(data[10])


def _gif_colour_table_size(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def end_of_gif_block(data: bytes, position: int) -> int:
    """Return where the block at `position` ends. Raises ValueError if none begins there, IndexError if it is
    cut.
    """
    if data[position] == _GIF_IMAGE:
        position += 10 + _gif_colour_table_size(data[position + 9]) + 1
    elif data[position] == _GIF_EXTENSION:
        position += 2
    else:
        raise ValueError("no GIF block where one must be")
    while data[position]:
        position += 1 + data[position]
    return position + 1


def _kept_gif_block(block: bytes) -> bytes:
    """Return an image as it is; of extensions keep delay, transparent colour and number of loops only."""
    if block[0] != _GIF_EXTENSION:
        return block
    if block.startswith(_GIF_CONTROL):
        return block[:_GIF_CONTROL_LENGTH] + b"\0"
    if block.startswith(_GIF_APPLICATIONS_KEPT):
        return block[:_GIF_LOOP_LENGTH] + b"\0"
    return b""


def _blank_avif(data: bytes, _keep_icc: bool) -> bytes:
    # Removing bytes would move the coded pixels, whose offsets are spread over the file.
    blanked = bytearray(data)
    for kind, start, end in itertools.chain(_avif_metadata(data, 0, len(data)), _between_items(data)):
        if kind in _TEXT_ITEMS:
            blank = b" " * (end - start)
        elif kind == b"Exif":
            blank = _EMPTY_EXIF_ITEM.ljust(end - start, b"\0")
        else:
            blank = bytes(end - start)
        if len(blank) != end - start:
            raise ValueError("an EXIF item too short to be blanked")
        blanked[start:end] = blank
        if kind == _UNKNOWN_BOX:
            blanked[start - 4 : start] = b"free"
    return bytes(blanked)


def _avif_metadata(
    data: bytes, position: int, end: int, inside: bytes = b""
) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of each piece of metadata between two positions; a box is `unknown`."""
    for kind, start, stop in boxes(data, position, end):
        if kind not in _AVIF_BOXES[inside]:
            if data[start - 4 : start] != kind:
                raise ValueError("an unknown box of more than 4 GiB")
            yield _UNKNOWN_BOX, start, stop
        elif kind == b"hdlr":
            yield b"name", min(stop, start + _HANDLER_LENGTH), stop
        elif kind == b"meta":
            yield from _avif_metadata(data, start + 4, stop, b"meta")
            parts = {part: (first, last) for part, first, last in boxes(data, start + 4, stop)}
            if b"iinf" in parts and b"iloc" in parts:
                yield from _item_metadata(data, parts[b"iinf"], parts[b"iloc"][0])
        elif kind in _AVIF_BOXES:
            yield from _avif_metadata(data, start, stop, kind)


def boxes(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each box of an AVIF file between two positions."""
    while position < end:
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = position + size if size else end
        if not start <= stop <= end:
            raise ValueError("a box larger than what holds it")
        yield kind, start, stop
        position = stop


def _item_metadata(data: bytes, iinf: tuple[int, int], iloc: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the names of all items and the contents of those that hold no pixels."""
    types = {}
    count_size = 4 if data[iinf[0]] else 2
    for _, entry, stop in boxes(data, iinf[0] + 4 + count_size, iinf[1]):
        form = ">IH4s" if data[entry] > 2 else ">HH4s"
        item, _, kind = struct.unpack_from(form, data, entry + 4)
        if kind not in _PIXEL_ITEMS:
            types[item] = kind
        name = entry + 4 + struct.calcsize(form)
        yield b"mime", name, max(name, data.find(b"\0", name, stop))
    for item, is_in_file, first, last in _item_extents(data, iloc):
        if item in types:
            if not is_in_file or not first < last <= len(data):
                raise ValueError("an item that is not where it can be blanked")
            yield types[item], first, last


def _item_extents(data: bytes, start: int) -> Iterator[tuple[int, bool, int, int]]:
    """Yield number, whether it is in the file itself, start and end of each extent that an `iloc` tells."""
    position = start + 6

    def number(size: int) -> int:
        nonlocal position
        position += size
        return int.from_bytes(_slice(data, position - size, position), "big")

    version = data[start]
    offset_size, length_size = data[start + 4] >> 4, data[start + 4] & 15
    base_size, index_size = data[start + 5] >> 4, data[start + 5] & 15
    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        item = number(wide)
        method = number(2) if version else 0
        number(2)
        base = number(base_size)
        for _ in range(number(2)):
            number(index_size if version else 0)
            first = base + number(offset_size)
            yield item, method == 0, first, first + number(length_size)


def _between_items(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield what lies in the `mdat` boxes of a still picture and belongs to no item."""
    parts = [(kind, start, end) for kind, start, end in boxes(data, 0, len(data))]
    if any(kind == b"moov" for kind, _, _ in parts):
        return  # samples of a movie are not followed
    used: list[tuple[int, int]] = []
    for kind, start, end in parts:
        if kind == b"meta":
            for inner, first, _ in boxes(data, start + 4, end):
                if inner == b"iloc":
                    used += [
                        (first, last) for _, in_file, first, last in _item_extents(data, first) if in_file
                    ]
    for kind, start, end in parts:
        if kind == b"mdat":
            position = start
            for first, last in [*sorted(used), (end, end)]:
                if position < first <= end:
                    yield b"unused", position, first
                position = max(position, last)


def _slice(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise ValueError("file ends within its structure")
    return data[start:end]


_STRIPPERS: dict[str, Callable[[bytes, bool], bytes]] = {
    "JPEG": _strip_jpeg,
    "PNG": _strip_png,
    "WEBP": _strip_webp,
    "GIF": _strip_gif,
    "AVIF": _blank_avif,
}
