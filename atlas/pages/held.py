"""What a report holds: bytes by address, small, in text that an HTML file can carry and a page can open one by one.

Seven bits stand in each character, which takes 17 % more than the bytes where base64 takes 33 %. The three characters that
HTML would change or read as a tag (NUL, carriage return, ``<``) are written 128 higher; the reader looks at seven bits.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

CHANGED = (0, 13, 60)  # NUL, CR, `<`
BITS = 7
EFFORT = 6  # of deflating: 9 takes twice the time for half a percent
STEP = 4  # what numbers of sixteen bits are rounded to: fourteen are finer than a screen, and than a tenth of a percent
IN_TEXT = 8 / BITS * (1 + len(CHANGED) / 128)  # bytes of the file for a byte held: those three take two each
LOSSY_BITS = 11  # of a float's 23 bits after the point that are dropped: what is left is right to 1 in 8 192
BLOCK = 7 << 17  # bytes turned into characters at a time: their bits take eight times as much memory


@dataclass(frozen=True)
class Entry:
    """One address's bytes as they are held: deflated, their columns of `width` bytes apart, or as they came."""

    body: bytes
    size: int  # bytes of the answer
    width: int  # bytes of a number; 0: as it came

    @property
    def characters(self) -> int:
        """How many characters the body takes."""
        return -(-8 * len(self.body) // BITS)


def packed(body: bytes, width: int = 1) -> Entry:
    """Return `body`, numbers of `width` bytes, deflated; first bytes lie with first bytes, which deflates better."""
    if width > 1:
        body = np.frombuffer(body, np.uint8).reshape(-1, width).T.tobytes()
    return Entry(zlib.compress(body, EFFORT), len(body), width)


def as_it_came(body: bytes) -> Entry:
    """Return `body` as an entry that is not deflated: a picture already is."""
    return Entry(body, len(body), 0)


def fewer_bits(values: np.ndarray) -> np.ndarray:
    """Return floats of which the last LOSSY_BITS bits are rounded away, so that they deflate: float32."""
    codes = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32(1 << (LOSSY_BITS - 1))
    mask = np.uint32(0xFFFFFFFF ^ ((1 << LOSSY_BITS) - 1))
    finite = np.isfinite(values)
    return np.where(finite, (codes + half) & mask, codes).astype(np.uint32).view(np.float32)


def rounded(codes: np.ndarray) -> np.ndarray:
    """Return uint16 codes rounded to whole STEPs; the last one, which stands for none, stays."""
    near = np.minimum((codes.astype(np.uint32) + STEP // 2) // STEP * STEP, 65_536 - STEP)
    return np.where(codes == 65_535, codes, near).astype(np.uint16)


class Held:
    """Addresses and what they answer."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def add(self, address: str, entry: Entry) -> None:
        """Hold an entry at an address."""
        self.entries[address] = entry

    @property
    def size(self) -> int:
        """Bytes that the text of all entries takes in a file, as near as can be told before it is written: int."""
        return int(sum(len(entry.body) for entry in self.entries.values()) * IN_TEXT * 1.001) + 70 * len(self.entries)

    def index(self) -> dict[str, list[int]]:
        """Return for each address where its characters begin, the bytes held, the bytes of the answer, and the width."""
        found, start = {}, 0
        for address, entry in self.entries.items():
            found[address] = [start, len(entry.body), entry.size, entry.width]
            start += entry.characters
        return found

    def text(self) -> str:
        """Return the characters of all entries, one after the other."""
        return "".join(characters(entry.body) for entry in self.entries.values())


def characters(body: bytes) -> str:
    """Return bytes as characters of seven bits each, first bit first, the last one filled up with zeros."""
    return "".join(_characters(body[start : start + BLOCK]) for start in range(0, len(body), BLOCK))


def _characters(body: bytes) -> str:
    bits: np.ndarray = np.unpackbits(np.frombuffer(body, np.uint8))
    bits = np.pad(bits, (0, -len(bits) % BITS)).reshape(-1, BITS)
    codes: np.ndarray = np.packbits(bits, axis=1)[:, 0] >> 1
    codes[np.isin(codes, CHANGED)] += 128
    return codes.tobytes().decode("latin-1")


def bytes_of(text: str, count: int) -> bytes:
    """Return the first `count` bytes that characters stand for: what the page's script does, for tests and other readers."""
    codes = np.frombuffer(text.encode("latin-1"), np.uint8) & np.uint8(127)
    return np.packbits(np.unpackbits(codes[:, None], axis=1)[:, 1:].reshape(-1))[:count].tobytes()
