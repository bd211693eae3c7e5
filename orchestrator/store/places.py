"""Where our files and folders go: what somebody else put there gives way, and no link is followed.

Whoever can write below ``work/`` can put a folder, a pipe or a link where the next result or log belongs.  It is moved
aside into ``logs/.displaced/`` and never removed: what we have to say is not lost, and neither is theirs.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from orchestrator.errors import StoreFault
from orchestrator.files.layout import FOLDER_NAMES, Layout
from orchestrator.files.opening import is_folder

DISPLACED = ".displaced"  # below logs/


TICK = 20_000_000  # ns: within so little time a second change may leave the same time on a folder
_checked: dict[
    str, tuple[int, int, int]
] = {}  # by work directory: its identity and time when all was well


def check_folders(layout: Layout) -> None:
    """`StoreFault` if a folder of the work directory is a link: what we write would land elsewhere, or come from there.

    Whoever puts a link there changes the time of the work directory, so one look tells that all is as it was.
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
        try:
            mode = os.lstat(layout.folder(name)).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(mode):
            what = "a link" if stat.S_ISLNK(mode) else "no folder"
            raise StoreFault(
                f"work/{name} is {what}",
                "put a real folder in its place; nothing starts until then",
            )


def clear(layout: Layout, path: str) -> bool:
    """Make way for a file of ours; whether anything but a regular file lay there."""
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    _displace(layout, path)
    return True


def make_folder(layout: Layout, path: str) -> None:
    """Have a folder of its own at ``path``; what else lies there gives way."""
    try:
        os.mkdir(path)
        return
    except FileExistsError:
        if is_folder(path):
            return
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)
        return
    _displace(layout, path)
    os.mkdir(path)


def _displace(layout: Layout, path: str) -> None:
    aside = f"{layout.folder('logs')}/{DISPLACED}"
    try:
        os.mkdir(aside)
    except FileExistsError:
        if not is_folder(aside):
            raise OSError(errno.ENOTDIR, "it is not a folder", aside) from None
    os.rename(path, f"{aside}/{time.time_ns()}-{os.path.basename(path)}"[:240])
