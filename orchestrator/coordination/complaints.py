"""Files of the inbox that are not run because something is wrong with them: the note beside each,
and what is told of it."""

from __future__ import annotations

import os
from collections.abc import Container

from orchestrator.coordination import blame
from orchestrator.coordination.health import Health
from orchestrator.coordination.intake import Invalid, Signature, TaskFile, signature_of
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.files import diagnostics, opening
from orchestrator.files.documents import Document, Problem
from orchestrator.files.layout import Layout, stem_of
from orchestrator.model.status import Status
from orchestrator.store.transitions import Store


class Complaints:
    """``invalid`` are these files: by name, and what each looked like.

    A complaint is told once for every content and reason; its event is written once, also over
    restarts.
    """

    def __init__(self, layout: Layout, store: Store, health: Health, listener: Listener) -> None:
        self.layout, self.store, self.health, self.listener = layout, store, health, listener
        self.invalid: dict[str, Signature] = {}
        self._told: dict[str, tuple[str, str]] = {}  # by name: content, reason
        self._warned: dict[str, str] = {}  # by name: the warnings that were told

    def not_valid(self, name: str, look: Invalid) -> None:
        """The file cannot be a task or a run."""
        self.invalid[name] = look.signature
        first = look.problems[0]
        hint = f" - {first.hint}" if first.hint else ""
        text = f"{first.line}:{first.column} {first.message}{hint}"
        note = diagnostics.note(name, look.document, look.problems, look.digest)
        self._put_down(name, note, "task_invalid", look.digest, look.digest[:12], text)
        self._tell(name, (look.digest, first.message), text)

    def refuse(
        self, name: str, signature: Signature, why: str, hint: str, kind: str = "task_refused"
    ) -> None:
        """The file stays where it is and is not run; a note says why."""
        self.invalid[name] = signature
        number = f"{signature[0]}.{signature[1]}"
        digest = f"refused {number}"
        note = diagnostics.note(name, Document(""), [Problem(1, 1, why, hint)], digest)
        self._put_down(name, note, kind, digest, number, why)
        self._tell(name, (digest, why), f"{why} - {hint}")

    def set_aside(self, name: str, error: Exception) -> None:
        """Looking at the file raised something that the machine is not to blame for."""
        try:
            signature = signature_of(os.lstat(self.layout.file(Status.INBOX, name)))
        except OSError:
            return
        if isinstance(error, OSError):
            # What refused it may give way, and leaves no trace: every full listing looks again.
            signature = (signature[0], -1, signature[2])
        why, hint = blame.sentence(error)
        self.invalid[name] = signature
        try:
            self.refuse(name, signature, why, hint)
        except Exception as second:  # no note, no event: it is still told, and set aside
            if blame.machine(second):
                self.health.failed(second)
            self._tell(name, ("", why), f"{why} - {hint}")

    def warn(self, name: str, look: TaskFile) -> None:
        """Tell what is read otherwise than meant, or is not there: once for every content."""
        text = "; ".join(f"{item.line}:{item.column} {item.message}" for item in look.warnings)
        if text and self._warned.get(name) != text:
            self.listener.hear(Remark(About.WARNED, stem_of(name), text))
        self._warned[name] = text

    def is_right(self, name: str) -> None:
        """Nothing is wrong with the file any more."""
        self._told.pop(name, None)
        self.drop_note(name)

    def forget(self, name: str) -> None:
        """The file is not there any more, or not what it was."""
        self._told.pop(name, None)
        if self.invalid.pop(name, None) is not None:
            self.drop_note(name)

    def keep(self, present: Container[str]) -> None:
        """Forget the warnings of files that are not there."""
        self._warned = {name: text for name, text in self._warned.items() if name in present}

    def drop_note(self, name: str) -> None:
        """Remove the note beside a file."""
        try:
            self.store.remove_note(stem_of(name))
        except OSError as error:  # it goes with the next full listing
            self._unwritten(error)

    def _put_down(
        self, name: str, note: str, kind: str, digest: str, number: str, why: str
    ) -> None:
        """The note, and the event unless a note of the same ``digest`` lies there."""
        task_id = stem_of(name)
        before = _read_text(self.layout.note(task_id))
        known = digest in before
        try:
            if before != note:
                self.store.write_note(task_id, note)
        except OSError as error:
            self._unwritten(error)
            if blame.machine(error):  # every full listing looks again, until there is room for it
                inode, _, size = self.invalid[name]
                self.invalid[name] = (inode, -1, size)
        if not known:
            said = {"phase": "submit", "status": "inbox", "summary": why[:300]}
            log = self.store.log
            log.commit([log.event(kind, task_id, number, task_id=task_id, **said)])

    def _tell(self, name: str, what: tuple[str, str], text: str) -> None:
        if self._told.get(name) != what:
            self._told[name] = what
            self.listener.hear(Remark(About.INVALID, stem_of(name), text))

    def _unwritten(self, error: OSError) -> None:
        """A note could not be written or removed: its name is too long, or a folder lies there; the
        event tells of it."""
        if blame.machine(error):
            self.health.failed(error)


def _read_text(path: str) -> str:
    try:
        return opening.read_text(path, 1 << 16)
    except OSError:
        return ""
