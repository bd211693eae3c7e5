"""Replies: what a person has to say to a task's agent, as a file ``<id>.reply`` or
``<id>.reply.md`` beside the task.

It may lie in any folder of tasks; the name says whose it is. Like every file that people and git
bring it is read with care: a regular file, not too large, whole, text.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.files import (
    git,
    journals,
    opening,
    origin,
    requests,
    results,
    runrecords,
    scan,
    trust,
)
from orchestrator.files import identity as identity_files
from orchestrator.files.layout import Layout
from orchestrator.libraries import later
from orchestrator.model import gates
from orchestrator.model.names import replied_to as replied_to
from orchestrator.model.question import misnumbered
from orchestrator.model.status import FOLDERS, Status
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.files.identity import Identity
    from orchestrator.files.trust import Trust

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")

MOST = 64 * 1024  # bytes
RESTS = 2.0  # seconds after which an empty one is taken to stay so
ENDINGS = (".reply", ".reply.md")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that was read.  ``problem`` says why it cannot be one (``text`` is empty then)."""

    task_id: str
    folder: Status
    name: str
    path: str
    text: str = ""
    problem: str = ""
    sha256: str = ""
    identity: Identity = (0, 0)

    @property
    def fact(self) -> tuple[str, str, Identity]:
        """What a person vouches for."""
        return self.name, self.sha256, self.identity

    @property
    def key(self) -> str:
        """By which the journal knows it again."""
        return f"{self.identity[0]}.{self.identity[1]}.{self.sha256[:16]}"


def names_of(layout: Layout, task_id: str) -> list[tuple[Status, str]]:
    """Files with words for the agent of this task, in any folder: the order is that in which they
    are told."""
    found = [
        (Status.RUNNING, name)
        for name in sorted(scan.names(layout.folder(Status.RUNNING)), key=_place)
        if ".reply" in name and replied_to(name) == task_id
    ]
    for folder in FOLDERS:
        for ending in ENDINGS if folder is not Status.RUNNING else ():
            if opening.lies(layout.file(folder, task_id + ending)):
                found.append((folder, task_id + ending))
    return found


def _place(name: str) -> tuple[int, str]:
    """The order of a task's replies: ``.reply``, ``.reply.md``, ``.reply.2`` and so on."""
    number = name.rpartition(".")[2]
    return (int(number) if number.isdecimal() else 0, name)


def listed(
    layout: Layout, folders: Iterable[Status] = FOLDERS, names: scan.Names = scan.names
) -> list[tuple[str, Status, str]]:
    """``(id, folder, name)`` of the replies that lie in these folders."""
    return sorted(
        (task_id, folder, name)
        for folder, name in scan.beside_tasks(layout, folders, names)
        if ".reply" in name and (task_id := replied_to(name))
    )


def look(
    layout: Layout,
    folder: Status,
    name: str,
    quiet: float = 0.0,
    whole: Callable[[Reply], bool] = lambda _: False,
) -> Reply | None:
    """What a reply says; None if it is not whole yet: empty, open in an editor, or written within
    the last ``quiet`` seconds (unless somebody knows that it is ``whole``)."""
    path = layout.file(folder, name)
    task_id = replied_to(name)
    if os.path.lexists(layout.file(folder, f".{name}.swp")) or os.path.lexists(
        layout.file(folder, f".#{name}")
    ):
        return None
    try:
        content = requests.read(path, leased=quiet > 0, most=MOST)
        identity = identity_files.identity_of(path)
    except FileNotFoundError:
        return None
    except requests.Unreadable as error:
        return Reply(task_id, folder, name, path, problem=str(error))
    except OSError as error:
        return Reply(task_id, folder, name, path, problem=f"cannot be read: {error.strerror}")
    if content.being_written:
        return None
    if not content.raw.strip():
        left = time.time() - content.stat.st_ctime > RESTS
        return Reply(task_id, folder, name, path, problem="it is empty") if left else None
    known: dict[str, Any] = {"sha256": content.sha256, "identity": identity}
    try:
        text = content.raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Reply(task_id, folder, name, path, problem="it is not UTF-8 text", **known)
    if "\0" in text:
        return Reply(task_id, folder, name, path, problem="it contains a NUL character", **known)
    if wrong := _unfit(layout, task_id, text):
        return Reply(task_id, folder, name, path, problem=wrong, **known)
    reply = Reply(task_id, folder, name, path, text.strip("\r\n") + "\n", **known)
    rests = 0 <= time.time() - content.stat.st_mtime < quiet
    return None if rests and not whole(reply) else reply


def _unfit(layout: Layout, task_id: str, text: str) -> str:
    """Why no agent can be told that; empty if one can."""
    if runrecords.place(layout, task_id) is not None:
        return f"{task_id} is a run: write to one of its tasks, as {task_id}.KEY.reply"
    if scan.locate(layout, task_id) is None and journals.of(layout, task_id) is None:
        return f"there is no task '{task_id}'"
    wrong = misnumbered(str(results.read(layout, task_id).get("question") or ""), text)
    return f"the question of {task_id} {wrong}" if wrong else ""


class Origin:
    """Whether a reply counts, or waits for a person because git brought it.  One for a process."""

    def __init__(self, known: Trust, origins: origin.Origins | None = None) -> None:
        self._vouched = trust.Vouched(known.approvals)
        self._origins = origins or origin.Origins()

    def vouched(self, reply: Reply) -> bool:
        """Whether a verb of this machine has written it, or a person has approved it."""
        return reply.fact in self._vouched

    def gate(self, reply: Reply, from_git: str, now: float) -> gates.Gate | None:
        """What keeps the reply from being told; None if nothing does."""
        if from_git == "run" or self.vouched(reply):
            return None
        try:
            if not self._brought(reply, now):
                return None
            why = "its reply came through git"
        except origin.Busy:
            why = "a git command is running in this project"
        except git.Unclear as error:
            why = origin.unclear_text(error)
        return gates.Gate(
            gates.GateName.APPROVAL,
            f"needs approval: {why} ({reply.folder}/{reply.name})",
            f"orchestrator approve {reply.task_id}",
            stuck=True,
        )

    def _brought(self, reply: Reply, now: float) -> bool | None:
        try:
            data = opening.read_bytes(reply.path, MOST)
        except OSError as error:
            raise git.Unclear(f"{reply.name} cannot be read again: {error.strerror}") from None
        if reply.sha256 and hashlib.sha256(data).hexdigest() != reply.sha256:
            raise origin.Busy  # another one lies there by now
        return self._origins.brought(os.path.dirname(reply.path), reply.name, data, now)


def digest(text: str) -> str:
    """The sum by which a text of ours is vouched for."""
    return hashlib.sha256(text.encode()).hexdigest()
