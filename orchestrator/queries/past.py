"""``status --at``: where every task was, at a moment by the events, or in a commit by its folders.
A pure read."""

from __future__ import annotations

import os

from orchestrator.errors import NotFound, Refused
from orchestrator.files import eventreader, git
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.model.hold import MARK
from orchestrator.model.status import FOLDERS, Status
from orchestrator.model.units import timestamp

_WHERE = {str(status): status for status in FOLDERS}
# An event says in which folder its task is then.
_GONE = frozenset(("task_removed",))  # nowhere
# What only tells of a request, of an attempt, or of another file, and moves nothing.
_STAY = frozenset(
    "task_invalid task_refused task_cancel_requested task_replied task_merged attempt_dispatched"
    " attempt_started attempt_finished task_retrying task_adopted task_restored tool_parked"
    " question_asked question_answered".split()
)


def at_moment(layout: Layout, moment: float) -> dict[str, Status]:
    """Where each task was then, as far as the log knows: a file that was dropped, or put back into
    the inbox by hand before it had run, is known from its claim on."""
    until = timestamp(moment)
    found: dict[str, Status] = {}
    for event in eventreader.events(layout)[0]:
        kind, task_id = str(event.get("event")), event.get("task_id")
        if str(event.get("ts")) > until or not task_id or kind in _STAY:
            continue
        if kind in _GONE:
            found.pop(str(task_id), None)
        status = _WHERE.get(str(event.get("status")))
        if status is not None:
            found[str(task_id)] = status
    return found


def at_commit(layout: Layout, word: str) -> dict[str, Status]:
    """Where each task lay in a commit. `NotFound` if git knows no such commit, `Refused` if it does
    not answer."""
    try:
        repository = git.nearest(layout.root)
        if repository is None:
            raise Refused("this is not a git repository", "status --at 2h   uses the events")
        work = os.path.relpath(os.path.realpath(layout.work), repository.folder)
        with git.reading(repository) as reader:
            name = reader.ask(
                "rev-parse", "--verify", "--quiet", f"{word}^{{commit}}", codes=(0, 1, 128)
            )
            if name.code:
                raise NotFound(f"there is no commit '{word}'", "write HEAD~3, 2h or a time")
            commit = name.out.decode().strip()
            out = reader.ask("ls-tree", "-r", "-z", "--full-tree", "--name-only", commit, work).out
    except git.Unclear as error:
        raise Refused(f"git does not answer: {error}") from None
    found: dict[str, Status] = {}
    for path in out.split(b"\0"):
        folder, _, file = os.fsdecode(path).removeprefix(f"{work}/").partition("/")
        stem = stem_of(file)
        if folder in _WHERE and stem and "/" not in file and not is_draft(file):
            if not file.startswith(MARK):
                found[stem] = _WHERE[folder]
    return found
