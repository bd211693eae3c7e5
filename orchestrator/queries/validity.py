"""Whether a file can run as written: judged by the file itself, with the check that ``validate``
and the watcher use.

A note (``<id>.error.md``) is what the watcher last said of a file. It may be missing (no watcher
has looked) or late (the file has been mended since), so it is believed only about exactly these
bytes and these settings: then it spares the check. One thing a file cannot show by itself: that the
watcher refused it because its id has run already.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestrator.files import documents, editing, requests, text
from orchestrator.files.layout import stem_of
from orchestrator.model import config as config_model
from orchestrator.model.status import Status
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.tools import judging, routing

if TYPE_CHECKING:
    from orchestrator.files.layout import Layout
    from orchestrator.files.requests import Content, Request
    from orchestrator.queries.settings import Settings

KEPT = 1000  # files of which a look keeps what it has judged
HINT = regex(r"(?m)^ *= hint: (.*)$")
PLACE = regex(r"(\d+):(\d+) (.*)")  # how a note begins


@dataclass(frozen=True, slots=True)
class Judged:
    """A file of inbox/ or held/: what it asks for, or the first reason why it cannot run as
    written.

    Of one that is being written nothing is known yet.
    """

    request: Request | None
    problem: documents.Problem | None = None
    held: str = ""  # who is still at it: `editing.EDITOR`, `editing.WRITTEN`
    sha256: str = ""  # of the bytes that were judged

    @property
    def told(self) -> str:
        """``2:10 'timeout' must be text``: the place and what is wrong; empty if nothing is."""
        if self.problem is None:
            return ""
        place = f"{self.problem.line}:{self.problem.column} " if self.problem.line else ""
        return f"{place}{text.one_line(self.problem.message, 160)}"


class Judge:
    """Judges files of one work directory by its settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._layout = settings, settings.layout
        self._known: dict[tuple[Status, str], Judged] = {}

    def file(self, status: Status, name: str) -> Judged:
        """What ``<status>/<name>`` is. The first `KEPT` are judged once for the whole look."""
        judged = self._known.get((status, name)) or self._judge(status, name)
        if len(self._known) < KEPT:
            self._known[status, name] = judged
        return judged

    def _judge(self, status: Status, name: str) -> Judged:
        path = self._layout.file(status, name)
        leased = status is Status.INBOX and editing.may_lease()
        try:
            content = requests.read(path, leased)
        except FileNotFoundError:
            return Judged(None)
        except requests.Unreadable as error:
            return Judged(None, documents.Problem(0, 0, str(error)))
        except PermissionError:
            return Judged(
                None, documents.Problem(0, 0, "it cannot be read: permission denied", "chmod u+r")
            )
        except OSError as error:
            return Judged(None, documents.Problem(0, 0, f"it cannot be read: {error.strerror}"))
        held = editing.in_editor(path) if status is Status.INBOX else ""
        if content.being_written and not held:
            return Judged(None, None, editing.WRITTEN)
        remembered = self._remembered(stem_of(name), content)
        if remembered:
            return Judged(None, remembered)
        config, toolbox = self._settings.config, self._settings.toolbox
        agents = routing.agent_names(config or config_model.Config(), toolbox.tools)
        request = judging.judged(
            path, stem_of(name), content.raw, config, toolbox, agents, self._layout.root
        )
        if request.errors:
            return Judged(request, request.errors[0])
        problem = refusal(self._layout, stem_of(name), content.stat)
        return Judged(request, problem, held, content.sha256)

    def _remembered(self, task_id: str, content: Content) -> documents.Problem | None:
        """What the note says, if it is about these bytes and younger than the settings."""
        path = self._layout.note(task_id)
        try:
            written = os.lstat(path).st_mtime_ns
        except OSError:
            return None
        changed = self._settings.changed
        if changed is None or changed > written:
            return None
        note = text.tail(path, 1 << 16)
        place = PLACE.match(note)
        if place is None or content.sha256 not in note:
            return None
        return documents.Problem(int(place[1]), int(place[2]), place[3])


def refusal(layout: Layout, task_id: str, stat: os.stat_result) -> documents.Problem | None:
    """Why the watcher refused exactly this file, by the note beside it; None if it did not."""
    note = text.tail(layout.note(task_id), 1 << 16)
    if f"refused {stat.st_ino}.{stat.st_mtime_ns}" not in note:
        return None
    hint = HINT.search(note)
    why = note.split("\n", 1)[0].partition(" ")[2]
    return documents.Problem(0, 0, why, hint[1] if hint else "")
