"""What FFmpeg keeps to itself about a Matroska file: where it should end, and where its index starts."""

from __future__ import annotations

import mmap
from pathlib import Path

_EBML = bytes.fromhex("1a45dfa3")
_SEGMENT = bytes.fromhex("18538067")
_CUES = bytes.fromhex("1c53bb6b")


def declared_size(path: Path) -> int | None:
    """Size of the whole file in bytes by its own header (RFC 8794 section 4, RFC 9559 section 5.1).

    Returns:
        The size, or None if the file was never finished or meant for streaming.

    Raises:
        ValueError: not a Matroska file.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.startswith(_EBML):
        raise ValueError("not a Matroska file")
    start, size = _read_size(head, len(_EBML))
    if size is None or not head.startswith(_SEGMENT, start + size):
        return None
    start, size = _read_size(head, start + size + len(_SEGMENT))
    return None if size is None else start + size


def index_position(path: Path, start: int) -> int:
    """Where the index behind byte `start` begins, or the size of the file if there is none."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = data.find(_CUES, start)
        return len(data) if found < 0 else found


def _read_size(data: bytes, position: int) -> tuple[int, int | None]:
    """Variable-size integer: the position behind it and its value, None if it is open-ended or cut off."""
    first = data[position] if position < len(data) else 0
    if first == 0:
        return position, None
    length = 9 - first.bit_length()
    bits = 7 * length
    value = int.from_bytes(data[position : position + length], "big") & ((1 << bits) - 1)
    end = position + length
    return end, None if value == (1 << bits) - 1 or end > len(data) else value
