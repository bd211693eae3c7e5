"""Small files as one blob: a line of JSON with their names and sizes, then their bytes. Names that
come from elsewhere are not trusted."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orchestrator.files import opening, scan
from orchestrator.store.atomic import write_all

MOST_FILES = 1000
HEAD_MOST = 4 << 20  # bytes of names and sizes: as objects they take thirty times as much
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TooMuch(ValueError):
    """More files, or more bytes, than are sent."""


def found_below(base: str, path: str) -> Iterator[str]:
    """The regular files that a path below ``base`` means, itself or those in it, by their paths
    below ``base``. No link is followed, on the way neither."""
    path = os.path.normpath(path)
    if not safe(path):
        return
    *folders, last = path.split("/")
    try:
        with opening.folder_below(base, *folders) as above:
            whole = f"{above}/{last}"
            kind = os.lstat(whole).st_mode
            if stat.S_ISREG(kind):
                yield path
            elif stat.S_ISDIR(kind):
                yield from (f"{path}/{name}" for name in _files(whole))
    except OSError:
        return


def _files(top: str) -> Iterator[str]:
    for folder, folders, names in scan.walk(top):
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(names):
            if os.path.isfile(f"{folder}/{name}") and not os.path.islink(f"{folder}/{name}"):
                yield os.path.relpath(f"{folder}/{name}", top)


def pack(files: Iterable[tuple[str, str, str]], most: int) -> bytes:
    """A blob of files: name in the blob; folder here, and path below it, on which no link is
    followed. Raises `TooMuch`; what cannot be read is left out."""
    heads: list[list[object]] = []
    bodies: list[bytes] = []
    size = 0
    for name, base, path in files:
        *folders, last = path.split("/")
        try:
            with opening.folder_below(base, *folders) as above:
                data = opening.read_bytes(f"{above}/{last}", most)
                executable = os.access(f"{above}/{last}", os.X_OK)
        except opening.TooLarge:
            raise TooMuch(f"{name} has more than {most >> 20} MiB") from None
        except OSError:
            continue
        size += len(data)
        heads.append([name, len(data), executable])
        bodies.append(data)
        if size > most or len(heads) > MOST_FILES:
            raise TooMuch(f"more than {most >> 20} MiB or {MOST_FILES} files")
    head = json.dumps(heads).encode()
    if len(head) > HEAD_MOST:
        raise TooMuch(f"the names of more than {HEAD_MOST >> 20} MiB")
    return head + b"\n" + b"".join(bodies) if heads else b""


def unpack(blob: bytes) -> list[tuple[str, bytes, bool]]:
    """Names, contents, whether executable. ValueError if it is no such blob, or a name leads
    elsewhere."""
    at = blob.find(b"\n", 0, HEAD_MOST + 1)
    if at < 0:
        raise ValueError("no list of files, or one that is too long")
    try:
        heads = json.loads(blob[:at])
        if not isinstance(heads, list):
            raise ValueError("an invalid list of files")
        found = []
        at += 1
        for name, size, executable in heads[: MOST_FILES + 1]:
            if not safe(name) or not isinstance(size, int) or not 0 <= size <= len(blob) - at:
                raise ValueError(f"an invalid name or size: {str(name)[:100]!r}")
            found.append((name, blob[at : at + size], executable is True))
            at += size
    except (TypeError, RecursionError):
        raise ValueError("it is not a blob of files") from None
    if len(found) > MOST_FILES:
        raise ValueError(f"more than {MOST_FILES} files")
    return found


def safe(name: object) -> bool:
    """Whether a name stays below the folder that it is meant for, and out of ``.git``."""
    if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "replace")) < 4000:
        return False
    parts = name.split("/")
    return "\0" not in name and not any(
        part in ("", ".", "..") or part.lower() == ".git" for part in parts
    )


def place(base: str, name: str, data: bytes, executable: bool = False) -> None:
    """Write a file below ``base``, whatever links lie there: none is followed, and what lies in its
    place is replaced.

    Raises OSError, and ValueError for a name that leads elsewhere.
    """
    if not safe(name):
        raise ValueError(f"an invalid name: {name[:100]!r}")
    *folders, last = name.split("/")
    with _made(base, folders) as fd:
        try:
            os.unlink(last, dir_fd=fd)
        except FileNotFoundError:
            pass
        file = os.open(last, _NEW, 0o755 if executable else 0o644, dir_fd=fd)
        try:
            write_all(file, data)
        finally:
            os.close(file)


def have_folder(base: str, path: str) -> None:
    """Have a folder below ``base``, as `place` has those above a file."""
    with _made(base, path.split("/")):
        pass


@contextmanager
def _made(base: str, folders: Iterable[str]) -> Iterator[int]:
    """A folder below ``base``, open; it is made where it is not there."""
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            try:
                os.mkdir(folder, dir_fd=fd)
            except FileExistsError:
                pass
            inner = os.open(folder, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)
