"""One writer's event file of a day, kept by its name although git takes such files away.

``git stash``, ``pull --rebase --autostash`` and ``switch`` remove the file or put another in its
place: who has it open writes into a file without a name. So the file has a second name in
``.state/log``, where git does not look. Where the two names are not one file any more, a new file
is begun (``<day>.<writer>.2.jsonl``), which is in the way of nothing that git may bring back, and
what the log lacks now is written into it. Readers drop repetitions by ``event_id``.
"""

from __future__ import annotations

import errno
import os

from orchestrator.files import jsonlines, opening, scan
from orchestrator.files.layout import Layout
from orchestrator.model.units import DAY, timestamp, when
from orchestrator.store import places
from orchestrator.store.appending import append_to, is_named

MOST = 1 << 30  # bytes of an event file
KEPT_DAYS = 2  # days whose events are put back
FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT


def open_day(layout: Layout, day: str, clone: str, role: str) -> tuple[int, str]:
    """The descriptor and the path of the file to append to; what git took away is in it when this
    returns."""
    folder = f"{layout.state}/log"
    places.make_folder(layout, folder, 0o700)
    os.makedirs(layout.events, exist_ok=True)
    if not opening.is_folder(layout.events):
        raise opening.NotAFile(errno.ENOTDIR, "it is a link", layout.events)
    for name in scan.names(folder):
        places.clear(layout, f"{folder}/{name}")
    name = _free(layout, folder, day, f"{clone}-{role}")
    path = f"{layout.events}/{name}"
    places.clear(layout, path)
    fd = opening.descriptor(path, FLAGS)
    try:
        _second_name(path, f"{folder}/{name}")
        taken = _taken(layout, folder, day, clone)
        if taken:
            append_to(fd, path, _missing(layout, folder, taken))
            for other in taken:
                _mark(f"{folder}/{other}")
    except BaseException:
        os.close(fd)
        raise
    return fd, path


def _free(layout: Layout, folder: str, day: str, writer: str) -> str:
    """The name of the file that is ours still, or of one that never was."""
    number = 1
    while True:
        name = f"{day}.{writer}.jsonl" if number == 1 else f"{day}.{writer}.{number}.jsonl"
        if not os.path.lexists(f"{folder}/{name}") or not _gone(layout, folder, name):
            return name
        number += 1


def _gone(layout: Layout, folder: str, name: str) -> bool:
    """Whether git has taken the file away, or put another in its place."""
    fd = opening.descriptor(f"{folder}/{name}")
    try:
        return not is_named(fd, f"{layout.events}/{name}")
    finally:
        os.close(fd)


def _second_name(path: str, kept: str) -> None:
    try:
        os.link(path, kept, follow_symlinks=False)
    except (
        OSError
    ):  # it has it already, or the file system knows no second names: then nothing can be put back
        pass


def _taken(layout: Layout, folder: str, day: str, clone: str) -> list[str]:
    """Files of this clone that git took away, and whose lines nobody has put back; second names of
    old days go."""
    oldest = _day_before(day, KEPT_DAYS)
    found = []
    for name in sorted(scan.names(folder)):
        if name[:10] < oldest:
            os.unlink(f"{folder}/{name}")
        elif name[10:].startswith(f".{clone}-") and os.path.getsize(f"{folder}/{name}"):
            if _gone(layout, folder, name):
                found.append(name)
    return found


def _mark(kept: str) -> None:
    """Its lines are back: an empty file goes on saying that the name is taken."""
    fd = opening.descriptor(f"{kept}.new", os.O_WRONLY | os.O_CREAT)
    os.close(fd)
    os.rename(f"{kept}.new", kept)


def _missing(layout: Layout, folder: str, taken: list[str]) -> bytes:
    """The lines of these files that no event file has now."""
    known = _event_ids(layout, taken[0][:10])
    lines: dict[str, bytes] = {}
    for name in taken:
        for line in _lines(f"{folder}/{name}"):
            event_id = _event_id(line)
            if event_id and event_id not in known:
                lines.setdefault(event_id, line)
    return b"".join(line + b"\n" for line in lines.values())


def _event_ids(layout: Layout, first_day: str) -> set[str]:
    found: set[str] = set()
    for name in scan.names(layout.events):
        if name.endswith(".jsonl") and name[:10] >= first_day:
            found.update(map(_event_id, _lines(f"{layout.events}/{name}")))
    return found


def _lines(path: str) -> list[bytes]:
    """The lines of an event file; none if something else lies there, or one that is none of
    ours."""
    try:
        with opening.open_log(path) as file:
            return file.read(MOST).split(b"\n")
    except (FileNotFoundError, opening.NotAFile):
        return []


def _event_id(line: bytes) -> str:
    record = jsonlines.parse_line(line) if line else None
    return str(record.get("event_id") or "") if record else ""


def _day_before(day: str, days: int) -> str:
    return timestamp(when(f"{day}T00:00:00Z") - days * DAY)[:10]
