"""Writing what is held beside single tasks: ``held/@<what>.yaml``.  Each step is one rename."""

from __future__ import annotations

import os
from contextlib import suppress

from orchestrator.files import holds, owners, statehome
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Unreadable, read
from orchestrator.model import hold
from orchestrator.model.hold import Hold, Scope
from orchestrator.model.status import Status
from orchestrator.model.units import timestamp
from orchestrator.store import atomic, smallfiles
from orchestrator.store.eventlog import Event, EventLog, GroupCommit
from orchestrator.store.yamltext import result_text

MODELINE = "# yaml-language-server: $schema=../schemas/hold.schema.json\n"


def place(
    layout: Layout,
    scope: Scope,
    now: float,
    until: float | None,
    reason: str,
    shared: bool = False,
) -> str:
    """Hold this from now on, until a moment or until it is released; the file's path. A file that
    is there is replaced.

    ``shared``: a tool of an account, which is held for all listed projects of this person, by one
    file that they share. In a project that is not listed, or where that cannot be written, it is
    held here.
    """
    document = {"held_at": timestamp(now)}
    if until is not None:
        document["not_before"] = timestamp(until)
    if reason:
        document["reason"] = reason
    text = MODELINE.encode() + result_text(document)
    name, folder = f"{hold.stem_of(scope)}.yaml", holds.shared_folder(layout) if shared else ""
    if folder:
        with suppress(OSError):
            statehome.make(folder)
            atomic.publish(
                f"{folder}/{name}", text, f"{folder}/.{owners.fresh()}.tmp", replace=True
            )
            return f"{folder}/{name}"
    path = layout.file(Status.HELD, name)
    os.makedirs(layout.folder(Status.HELD), exist_ok=True)
    smallfiles.put(layout, path, text, "hold")
    return path


def lift(layout: Layout, scope: Scope, only: Hold | None = None) -> bool:
    """Remove what holds this, for all projects if it is held so; whether anything did.

    ``only``: what a file must still say; one that was written anew meanwhile stays. The file takes
    a hidden name first: that is what notifications tell of.
    """
    lifted = False
    for found, path in list(holds.places(layout)):
        if found != scope:
            continue
        folder, _, name = path.rpartition("/")
        hidden = f"{folder}/.{name}.{owners.fresh()}.tmp"
        with suppress(FileNotFoundError):  # another watcher was quicker
            os.rename(path, hidden)
            said = holds.read_hold(layout, scope, hidden) if only else None
            if only is not None and said is not None and not _same(said, only):
                with suppress(FileExistsError):
                    atomic.move(hidden, path)
            else:
                lifted = True
            atomic.remove(hidden)
    if lifted:
        atomic.sync_folder(layout.folder(Status.HELD))
    return lifted


def _same(one: Hold, other: Hold) -> bool:
    return (one.until, one.since, one.reason, one.problem) == (
        other.until,
        other.since,
        other.reason,
        other.problem,
    )


def adopt_parked(layout: Layout) -> list[str]:
    """Move what ``parked/`` of an older version holds to ``held/``; the tools. What is held there
    already stays as it is."""
    moved = []
    for scope, source in list(holds.places(layout)):
        if os.path.dirname(source) != layout.folder(holds.BEFORE):
            continue
        target = layout.file(Status.HELD, f"{hold.stem_of(scope)}.yaml")
        try:
            read(source)  # a link, a folder or another's file is obeyed where it is, and not moved
            atomic.move(source, target)
        except (FileNotFoundError, FileExistsError, Unreadable):
            continue
        moved.append(scope[1])
    return moved


def event(log: EventLog | GroupCommit, kind: str, scope: Scope, now: float, summary: str) -> Event:
    """What happened to a hold, for the log."""
    held, name = scope
    key = "run_id" if held == "run" else held
    about = {key: name} if name else {}
    subject = f"hold/{hold.stem_of(scope)}"
    text = f"{hold.words(scope)}: {summary}" if summary else hold.words(scope)
    return log.event(kind, subject, f"@{int(now * 1000)}", summary=text[:300], **about)
