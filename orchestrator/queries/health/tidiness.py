"""Ids that are there twice, notes and requests about what is gone, files that no folder should
have."""

from __future__ import annotations

import os

from orchestrator.files import owners, scan
from orchestrator.files.layout import CANCEL, NOTE, Layout, is_draft, stem_of
from orchestrator.model.names import replied_to
from orchestrator.model.status import FOLDERS, Status
from orchestrator.model.units import plural
from orchestrator.queries.health.check import Check, mendable, note, ok, problem
from orchestrator.queries.health.copies import copies, places

NAMED = 5  # strangers that are named; more are not


def tidiness(layout: Layout, names: scan.Names) -> list[Check]:
    where = places(layout, names)
    found = [
        *_twice(layout, names, [paths for paths in where.values() if len(paths) > 1]),
        *_requests(layout),
        *_leftovers(layout),
        *_notes(names(layout.folder(Status.INBOX))),
        *_strangers(layout, names),
    ]
    return found or [ok("files", f"{plural(len(where), 'task')}, every id once")]


def _twice(layout: Layout, names: scan.Names, several: list[list[str]]) -> list[Check]:
    if not several:
        return []
    kept = {path for path, _ in copies(layout, names)}
    return [_of_one_id(layout, where, kept) for where in several]


def _of_one_id(layout: Layout, where: list[str], kept: set[str]) -> Check:
    paths = [f"{layout.work}/{path}" for path in where]
    inodes = {os.lstat(path).st_ino for path in paths if os.path.lexists(path)}
    if len(inodes) == 1:
        return mendable("half-move", f"a move was cut off: {' and '.join(where)} are one file")
    for path in where:
        if path in kept:
            words = f"one task in several folders: {', '.join(where)}"
            return mendable("duplicate", words, f"(keeps {path}, as the latest event says)")
    fix = "keep one and remove or rename the others"
    return problem("duplicate", f"one id, several files: {', '.join(where)}", fix)


def _requests(layout: Layout) -> list[Check]:
    keys = scan.names(f"{layout.state}/cancel")
    stale = [key for key in keys if not os.path.exists(f"{layout.active}/{key}.jsonl")]
    if not stale:
        return []
    words = f"{plural(len(stale), 'request')} to cancel tasks that are not running"
    return [mendable("requests", words)]


def _leftovers(layout: Layout) -> list[Check]:
    folder = f"{layout.state}/tmp"
    left = [
        name
        for name in scan.names(folder)
        if owners.abandoned(f"{folder}/{name}", ".".join(name.split(".")[:2]))
    ]
    if not left:
        return []
    words = f"{plural(len(left), 'temporary file')} of processes that are gone"
    return [mendable("leftovers", words)]


def _notes(listed: list[str]) -> list[Check]:
    stems = {stem_of(name) for name in listed if not is_draft(name)}
    noted = [name.removesuffix(NOTE) for name in listed if name.endswith(NOTE)]
    stale = [stem for stem in noted if stem not in stems]
    if not stale:
        return []
    return [mendable("notes", f"{plural(len(stale), 'note')} about files that are gone")]


def _strangers(layout: Layout, names: scan.Names) -> list[Check]:
    found = []
    for status in FOLDERS:
        odd = [name for name in names(layout.folder(status)) if _odd(layout, name)]
        if odd:
            named = ", ".join(sorted(odd)[:NAMED])
            words = f"{status}/ contains files that are not tasks: {named}"
            hint = "move it elsewhere; task files end in .yaml, .yml or .md"
            found.append(note("strangers", words, hint))
    return found


def _odd(layout: Layout, name: str) -> bool:
    if stem_of(name) or is_draft(name) or name.endswith((CANCEL, ".conflict")):
        return False
    told = replied_to(name)
    return not told or scan.locate(layout, told) is None
