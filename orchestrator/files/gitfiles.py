"""What git reads of a repository has to be regular files: a pipe in place of one makes every git
that opens it wait for ever.

`odd` looks before a git of ours writes there. (`files.git` reads through a copy of its own, and
checks what goes into that.) But git reads more than anybody can list: what the configuration
includes and names, objects, other repositories' objects. So `talk` gives up a git that waits.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.libraries import later

if TYPE_CHECKING:
    import subprocess
else:
    subprocess = later("subprocess")

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
CONFIG = ("config", "config.worktree")
BELOW = ("refs", "logs/refs")
LARGEST = 4 << 30  # bytes of such a file: git reads all of it, so a hole would keep it for minutes
MOST_CONFIG = 1 << 20  # bytes of a configuration, which every git reads anew
LOOK, STILL = 1.0, 5  # seconds between two looks at a git that runs, and looks until it is given up


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
            if _is_odd(f"{folder}/{name}", MOST_CONFIG if name in CONFIG else LARGEST):
                return f"{folder}/{name}"
        for name in BELOW:
            if found := _odd_below(f"{folder}/{name}"):
                return found
    return ""


def _is_odd(path: str, most: int) -> bool:
    try:
        info = os.stat(path)  # a link to a file is what some tools make
    except OSError:
        return False
    return not stat.S_ISREG(info.st_mode) or info.st_size > most


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


class Waits(Exception):
    """A git waited for what does not come, and was ended; the text says that, for people."""


class _Patience:
    """With a git that runs: none with one that does nothing at all.

    It then waits in a file that is none. What it starts itself may be slow (a filter, a network),
    and a disk may be: nothing that waits for those counts.
    """

    def __init__(self, process: subprocess.Popen[bytes], verb: str) -> None:
        self._process, self._verb = process, verb
        self._before: Mapping[int, int] = {}
        self._same = 0

    def look(self) -> None:
        """To be called every `LOOK` seconds; raises `Waits`."""
        spent = _spent(self._process.pid)
        self._same = self._same + 1 if spent and spent == self._before else 0
        self._before = spent
        if self._same >= STILL:
            self._process.kill()  # first: it would begin another in place of one that has ended
            for pid in spent:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise Waits(
                f"git {self._verb} waited for something that did not come (a pipe in place of a"
                " file?), and was ended"
            )


def talk(
    process: subprocess.Popen[bytes], verb: str, given: bytes | None, seconds: float
) -> tuple[bytes, bytes]:
    """`communicate` with a git.  Raises `Waits` or `subprocess.TimeoutExpired`."""
    end, patience = time.monotonic() + seconds, _Patience(process, verb)
    while True:
        left = end - time.monotonic()
        try:
            return process.communicate(given, max(0.0, min(LOOK, left)))
        except subprocess.TimeoutExpired:
            if left <= LOOK:
                raise subprocess.TimeoutExpired(process.args, seconds) from None
            patience.look()
            given = None


def listen(process: subprocess.Popen[bytes], verb: str, most: int) -> bytes:
    """What a git prints, up to one byte more than ``most``.  Raises `Waits`."""
    out, fd = bytearray(), process.stdout.fileno()  # type: ignore[union-attr]
    patience, poll = _Patience(process, verb), select.poll()
    poll.register(fd, select.POLLIN)
    while len(out) <= most:
        if not poll.poll(LOOK * 1000):
            patience.look()
        elif data := os.read(fd, min(1 << 20, most + 1 - len(out))):
            out += data
        else:
            break
    return bytes(out)


def _spent(pid: int) -> Mapping[int, int]:
    """The processor time of a git and of each that it has started, by their pids; nothing if one of
    them is no git, or does something at this moment, or this machine does not say."""
    found: dict[int, int] = {}
    try:
        for owner, comm, state, ticks in _threads(pid):
            if comm != "git" or state != "S":
                return {}
            found[owner] = found.get(owner, 0) + ticks
    except (OSError, ValueError):
        return {}
    return found


def _threads(pid: int) -> Iterator[tuple[int, str, str, int]]:
    """Of a process and all below it: the pid, and what a thread is called, its state, its ticks."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8", errors="replace") as file:
            comm, _, rest = file.read().partition("(")[2].rpartition(")")
        fields = rest.split()
        yield pid, comm, fields[0], int(fields[11]) + int(fields[12])
        with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
            children = file.read().split()
        for child in children:
            yield from _threads(int(child))
