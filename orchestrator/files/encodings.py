"""Bytes that are no UTF-8: what they probably are, and how to make them UTF-8."""

from __future__ import annotations

from orchestrator.patterns import regex

# What a file begins with, the name of its encoding for people and for iconv.
MARKS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xfe\x00\x00", "UTF-32", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32", "UTF-32"),
    (b"\xff\xfe", "UTF-16", "UTF-16"),
    (b"\xfe\xff", "UTF-16", "UTF-16"),
    (b"\x1f\x8b", "compressed (gzip)", ""),
    (b"PK\x03\x04", "an archive or an office document", ""),
    (b"%PDF", "a PDF", ""),
    (b"\x89PNG", "a picture", ""),
)
# In western texts such letters stand alone or in pairs.
RUN = regex("[\x80-\xff]{3}")


def guess(raw: bytes) -> tuple[str, str]:
    """``(what the bytes are, its name for iconv)`` of bytes that are no UTF-8; the name for iconv
    is empty if they are no text, both are if nothing can be told."""
    for mark, name, iconv in MARKS:
        if raw.startswith(mark):
            return name, iconv
    if b"\0" in raw[:4096]:
        halves = raw[:4096][::2].count(0), raw[:4096][1::2].count(0)
        if max(halves) > 2 and max(halves) > len(raw[:4096]) // 4:
            return ("UTF-16", "UTF-16LE" if halves[1] > halves[0] else "UTF-16BE")
        return "no text", ""
    if RUN.search(
        raw.decode("latin-1")
    ):  # Japanese, Chinese, Cyrillic, ...: many encodings, and a wrong one spoils the text
        return "", ""
    if any(0x80 <= byte < 0xA0 for byte in raw):
        return "Windows-1252", "WINDOWS-1252"
    return "Latin-1", "LATIN1"


def readable(text: str | bytes) -> str:
    """Text that any file can hold: bytes that are no UTF-8, and NULs, are U+FFFD; what begins with
    the mark of UTF-16 or UTF-32 is read as that.

    ``text`` may also be what Python made of such bytes in arguments (lone surrogates).
    """
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    wide = next((iconv for mark, _, iconv in MARKS if raw.startswith(mark) and iconv), "")
    said = raw.decode(wide or "utf-8", "replace")
    return said.removeprefix("\ufeff").replace("\0", "\ufffd")


def hint(raw: bytes) -> str:
    """What to do about them."""
    name, iconv = guess(raw)
    if not name:
        return "save the file as UTF-8 (iconv -f ITS-ENCODING -t UTF-8)"
    if not iconv:
        return f"it is {name}: a text file in UTF-8 is needed"
    return f"save the file as UTF-8 (it looks like {name}: iconv -f {iconv} -t UTF-8)"
