"""Where our files and folders go: what somebody else put there gives way, and no link is followed.

Whoever can write below ``work/`` can put a folder, a pipe or a link where the next result or log
belongs, or a file where a folder belongs. It is moved aside into ``logs/.displaced/`` and never
removed: what we have to say is not lost, and neither is theirs. Only a link in place of a folder of
``work/`` stays, as a person may have put it there: nothing starts until it is gone.
"""

from __future__ import annotations

import os
import stat
import time

from orchestrator.errors import InTheWay
from orchestrator.files.layout import FOLDER_NAMES, STATE_FOLDERS, Layout
from orchestrator.files.opening import is_folder
from orchestrator.store import atomic

DISPLACED = ".displaced"  # below logs/, or below .state/ if there is no logs/
MOST = 200  # bytes of the name of what was moved there: the moment comes before it


TICK = 20_000_000  # ns: within so little time a second change may leave the same time on a folder
_checked: dict[
    str, tuple[int, int, int]
] = {}  # by work directory: its identity and time when all was well


def check_folders(layout: Layout) -> None:
    """`InTheWay` if a folder of the work directory is a link: what we write would land elsewhere,
    or come from there.

    Whoever puts a link there changes the time of the work directory, so one look tells that all is
    as it was.
    """
    try:
        now = _stamp(layout.work)
    except FileNotFoundError:
        return
    if _checked.get(layout.work) == now:
        return
    _checked.pop(layout.work, None)
    _check_each(layout)
    if abs(time.time_ns() - now[2]) > TICK:  # else a link may come without leaving a trace
        _checked[layout.work] = now


def _stamp(folder: str) -> tuple[int, int, int]:
    info = os.stat(folder)
    return info.st_dev, info.st_ino, info.st_ctime_ns


def _check_each(layout: Layout) -> None:
    for name in (*FOLDER_NAMES, ".state"):
        if os.path.islink(layout.folder(name)):
            raise InTheWay(
                f"work/{name} is a link",
                "put a real folder in its place; nothing starts until then",
            )


def spoilt(layout: Layout) -> bool:
    """Whether something else lies where a folder belongs, or one of those is missing that are ours
    alone."""
    mine = (f"{layout.state}/{name}" for name in STATE_FOLDERS)
    persons = (layout.folder(name) for name in FOLDER_NAMES)
    return not all(map(is_folder, mine)) or any(
        os.path.lexists(path) and not os.path.isdir(path) for path in persons
    )


def clear(layout: Layout, path: str) -> bool:
    """Make way for a file of ours; whether anything but a regular file lay there."""
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    displace(layout, path)
    return True


def make_folder(layout: Layout, path: str, mode: int = 0o777) -> None:
    """Have a folder of its own at ``path``; what else lies there gives way."""
    try:
        os.mkdir(path, mode)
        return
    except FileExistsError:
        if is_folder(path):
            return
    except FileNotFoundError:
        os.makedirs(path, mode, exist_ok=True)
        return
    displace(layout, path)
    os.mkdir(path, mode)


def displace(layout: Layout, path: str) -> None:
    """Move aside what lies at ``path``."""
    logs = layout.folder("logs")
    home = logs if is_folder(logs) else layout.state  # it is logs/ itself that gives way
    aside = f"{home}/{DISPLACED}"
    if not is_folder(aside):
        if os.path.lexists(aside):  # it gives way, too
            os.rename(aside, f"{aside}-{time.time_ns()}")
        os.makedirs(aside, exist_ok=True)
    name = os.fsencode(os.path.basename(path))[:MOST]
    atomic.move_whole(path, f"{aside}/{time.time_ns()}-{os.fsdecode(name)}")
