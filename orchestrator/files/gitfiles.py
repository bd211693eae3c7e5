"""What git reads of a repository has to be regular files: a pipe in place of one makes every git
that opens it wait for ever.

Looked at before a git of ours writes there. (`files.git` reads through a copy of its own, and
checks what goes into that.)
"""

from __future__ import annotations

import os
import stat

NAMES = (
    *(
        "HEAD",
        "index",
        "config",
        "config.worktree",
        "packed-refs",
        "shallow",
        "commondir",
        "gitdir",
    ),
    *("info/exclude", "info/attributes", "info/grafts", "info/sparse-checkout"),
    *("objects/info/alternates", "objects/info/commit-graph", "logs/HEAD", "ORIG_HEAD"),
    *("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD"),
)
BELOW = ("refs", "logs/refs")
LARGEST = 4 << 30  # bytes of such a file: git reads all of it, so a hole would keep it for minutes


def top_of(folder: str) -> str:
    """The checkout that holds a folder (a real path), as git finds it, without asking git; the
    folder itself if none does."""
    place = folder
    while True:
        dot = f"{place}/.git"
        if os.path.isfile(dot) or any(
            os.path.lexists(f"{dot}/{name}") for name in ("HEAD", "objects", "commondir")
        ):
            return place
        above = os.path.dirname(place)
        if above == place:
            return folder
        place = above


def odd(*folders: str) -> str:
    """The first file of these git directories that is none, or larger than any, as a path; empty if
    all are fit to be read."""
    for folder in dict.fromkeys(folders):
        for name in NAMES:
            if _is_odd(f"{folder}/{name}"):
                return f"{folder}/{name}"
        for name in BELOW:
            if found := _odd_below(f"{folder}/{name}"):
                return found
    return ""


def _is_odd(path: str) -> bool:
    try:
        info = os.stat(path)  # a link to a file is what some tools make
    except OSError:
        return False
    return not stat.S_ISREG(info.st_mode) or info.st_size > LARGEST


def _odd_below(top: str) -> str:
    """The same of the refs: the listing of a folder tells what its entries are, so that none is
    looked at by itself."""
    todo = [top]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif not entry.is_file() and not entry.is_symlink():
                        return entry.path
        except OSError:
            continue
    return ""
