"""Share memory between the engine and one codec process, so that no image is copied through a pipe.

The bytes lie in a file without a name. Both processes map it, and either may make it larger. None can make it
smaller where the system can forbid that (Linux): a process that reads hostile files could otherwise end the
other one, which would then read beyond the end of the file.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence

_SMALLEST = 1 << 20
_KEPT = 4 << 20
"""Bytes that stay allocated between two images; what a larger image took goes back to the system."""


class SharedBuffer:
    """Bytes from the start of a file that two processes map; only one of them may use it at a time."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Make a new buffer, or with `descriptor` map the one that another process made."""
        self.descriptor = _nameless_file() if descriptor is None else descriptor
        self._map: mmap.mmap | None = None

    def write(self, parts: Sequence[bytes]) -> list[int]:
        """Put `parts` one after the other at the start; return their lengths, as `read` takes them."""
        lengths = [len(part) for part in parts]
        mapped = self._mapped(sum(lengths))
        position = 0
        for part, length in zip(parts, lengths, strict=True):
            mapped[position : position + length] = part
            position += length
        return lengths

    def read(self, lengths: Iterable[int]) -> list[bytes]:
        """Return copies of the parts that the other process wrote; ValueError for impossible lengths."""
        wanted = list(lengths)
        if any(not isinstance(length, int) or length < 0 for length in wanted):
            raise ValueError(f"these are not lengths of parts: {wanted}")
        size = sum(wanted)
        if size > os.fstat(self.descriptor).st_size:
            raise ValueError(f"there are no {size:,} bytes in the shared buffer")
        mapped = self._mapped(size)
        parts, position = [], 0
        for length in wanted:
            parts.append(mapped[position : position + length])
            position += length
        return parts

    def trim(self) -> None:
        """Give back the memory that a large image took."""
        if self._map is not None and len(self._map) > _KEPT and hasattr(mmap, "MADV_REMOVE"):
            self._map.madvise(mmap.MADV_REMOVE, _KEPT)

    def close(self) -> None:
        """Unmap the buffer and close its file."""
        if self._map is not None:
            self._map.close()
        os.close(self.descriptor)

    def _mapped(self, size: int) -> mmap.mmap:
        """Return the bytes, `size` of them at least."""
        if self._map is None or len(self._map) < size:
            there = os.fstat(self.descriptor).st_size
            if there < size or not there:
                there = max(_SMALLEST, 1 << (size - 1).bit_length())
                os.ftruncate(self.descriptor, there)
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(self.descriptor, there)
        return self._map


def _nameless_file() -> int:
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    descriptor = os.memfd_create("imagi-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor
