"""Every change of a task's status, made safely.  The watcher and the verbs use the same steps.

Each step has one commit point, one atomic system call; what comes after it is repeated by recovery
if it was cut off. A task that was ever claimed changes only under the lock on its journal; one that
was not, by a single rename that never overwrites, so that people's verbs and the watcher never
interleave.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from orchestrator.clock import SYSTEM, Clock
from orchestrator.errors import Refused, StoreFault, Taken
from orchestrator.files import opening, owners, runrecords, scan, trust
from orchestrator.files.identity import Identity
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Content
from orchestrator.files.trust import Trust
from orchestrator.model import ids
from orchestrator.model.sandbox import Bounds
from orchestrator.model.status import Status
from orchestrator.model.units import timestamp
from orchestrator.store import (
    atomic,
    bounding,
    cancelling,
    folders,
    following,
    places,
    placing,
    smallfiles,
    trusting,
)
from orchestrator.store.cardfile import CardFile
from orchestrator.store.claiming import Claim, Withdrawn, claimed
from orchestrator.store.eventlog import EventLog, GroupCommit, NewFile
from orchestrator.store.ledger import Entry, Ledger
from orchestrator.store.yamltext import result_text


class Rehearsed(Exception):
    """A step of a rehearsal would be done: ``target`` is where its task would be then, ``doing``
    says what else would happen."""

    def __init__(self, task_id: str, target: Status, doing: str = "") -> None:
        super().__init__(task_id)
        self.task_id, self.target, self.doing = task_id, target, doing


class Store:
    """The write side of one work directory. In a rehearsal, which is a verb's dry run, each step
    judges as ever and ends in `Rehearsed` or a refusal: it writes nothing."""

    def __init__(
        self,
        layout: Layout,
        log: EventLog | GroupCommit,
        clock: Clock = SYSTEM,
        rehearsing: bool = False,
    ) -> None:
        self.layout, self.log, self.clock = layout, log, clock
        self.rehearsing = rehearsing
        self.ledger = Ledger(layout)
        self._trust: Trust | None = None
        self.card = CardFile(layout, clock)

    def prepare(self) -> list[str]:
        """Create the folders that are missing; their names."""
        made = folders.make(self.layout)
        self.establish()
        return made

    def judged(self, task_id: str, target: Status, doing: str = "") -> None:
        """Nothing stands in the way of a step, and what follows writes: here a rehearsal ends.

        Raises `Rehearsed`, in a rehearsal alone.
        """
        if self.rehearsing:
            raise Rehearsed(task_id, target, doing)

    # -- events
    # ----------------------------------------------------------------------------------------------

    def say(self, kind: str, task_id: str, step: str = "", **fields: Any) -> None:
        """An event of a verb, on disk when this returns; its id is its own, since a person may do
        things twice."""
        step = step or f"@{int(self.clock.wall() * 1000)}"
        self.log.commit_and_wait([self.log.event(kind, task_id, step, task_id=task_id, **fields)])

    @contextmanager
    def acknowledged(self, task_id: str, undo: Callable[[], None] | None = None) -> Iterator[None]:
        """What must follow a change before it may be called done; if the disk refuses that, the
        change is taken back."""
        try:
            yield
        except (OSError, StoreFault) as error:
            state = "nothing was changed"
            try:
                if undo is not None:
                    undo()
            except OSError:  # it refuses that as well: say what is so
                place = scan.locate(self.layout, task_id)
                state = (
                    f"it is in {place[0]}/ now"
                    if place
                    else "it is nowhere to be found: orchestrator doctor"
                )
            why = (
                error.message
                if isinstance(error, StoreFault)
                else f"{error.strerror} ({error.filename or task_id})"
            )
            raise StoreFault(
                f"{task_id}: the disk refused: {why}", f"{state}; try again when there is room"
            ) from None

    # -- submit
    # ----------------------------------------------------------------------------------------------

    def submit(
        self,
        task_id: str,
        text: str | bytes,
        suffix: str = ".yaml",
        folder: Status = Status.INBOX,
        kind: str = "task_submitted",
        bounds: Bounds | None = None,
        **fields: Any,
    ) -> str:
        """Place a new task (or run) file; its path.  `Taken` if the id is in use anywhere.

        The caller has validated the text. ``bounds``: what it may have at most, for good. When this
        returns the file survives a power cut.
        """
        why = ids.problem(task_id)
        if why:
            raise Refused(f"the id '{task_id}' {why}", "choose another with --id")
        self.check_free(task_id)
        self._refuse_twin(task_id)
        self.judged(task_id, folder)
        self.prepare()
        path = self.layout.file(folder, task_id + suffix)
        temporary = self.layout.file(folder, f".{task_id}{suffix}.{owners.fresh()}.tmp")
        raw = text.encode() if isinstance(text, str) else text
        moment = timestamp(
            self.clock.wall()
        )  # the watcher may claim it before the event is written
        try:
            atomic.write_temporary(temporary, raw)
            self.vouch_for(task_id, temporary)
            if bounds is not None:
                bounding.keep(self.layout, task_id, bounds)
            try:
                atomic.move(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except FileExistsError:
            raise Taken(
                f"there is already a task '{task_id}'", "choose another name with --id"
            ) from None
        except OSError as error:
            raise StoreFault(
                f"{self.layout.shown(path)} could not be written: {error.strerror}",
                "no task was made",
            ) from None
        with self.acknowledged(
            task_id, lambda: os.unlink(path)
        ):  # unless the watcher has taken it by then
            atomic.sync_folder(os.path.dirname(path))
            self.say(kind, task_id, phase="submit", status=str(folder), ts=moment, **fields)
        return path

    def check_free(self, task_id: str) -> None:
        """`Taken` if a task or run of this id is anywhere, or has run here."""
        place = scan.locate(self.layout, task_id)
        if place is not None:
            raise Taken(
                f"there is already a task '{task_id}' in {place[0]}/",
                "choose another name with --id",
            )
        placed = {ids.key(name) for name, _ in scan.task_names(self.layout.folder("runs"))}
        if ids.key(task_id) in placed or runrecords.has_record(self.layout, task_id):
            raise Taken(f"there is already a run '{task_id}'", "choose another name with --id")
        for closed in (False, True):
            if os.path.exists(self.layout.journal(task_id, closed)):
                raise Taken(
                    f"a task '{task_id}' has run here before", "choose another name with --id"
                )

    def _refuse_twin(self, task_id: str) -> None:
        """`Taken` if a task waits whose id differs by case only: a watcher takes one of the two."""
        key = ids.key(task_id)
        for status in (Status.INBOX, Status.HELD):
            for other, _ in scan.task_names(self.layout.folder(status)):
                if ids.key(other) == key:
                    raise Taken(
                        f"there is already a task '{other}' in {status}/",
                        "choose another name with --id",
                    )

    @property
    def trust(self) -> Trust:
        """Where trust in this project is kept, and whether it may be believed."""
        if self._trust is None:
            self._trust = trust.of(self.layout)
        return self._trust

    def establish(self) -> Trust:
        """Take the project's place down outside of it; what is known of it from now on."""
        self._trust = trusting.establish(self.layout)
        return self._trust

    def accept_copy(self) -> None:
        """A person takes this copy of a project for their own."""
        self._trust = trusting.accept_copy(self.layout)

    def vouch(self, facts: Iterable[tuple[str, str, Identity]]) -> None:
        """Remember files that this machine knows (id, sha256, identity), so that git tracking them
        later is no alarm."""
        with suppress(OSError):  # it costs a question later, never a task
            trusting.vouch(self.trust, facts)

    def vouch_for(self, task_id: str, path: str) -> None:
        """`vouch` for the file that lies at this path now."""
        self.vouch([trusting.fact_of(task_id, path)])

    # -- claim
    # ----------------------------------------------------------------------------------------------

    def claim(self, task_id: str, name: str, content: Content, facts: Mapping[str, Any]) -> Entry:
        """Take a task from the inbox, durably; its journal, open and locked. Raises as
        `begin_claim`, and OSError."""
        claim = self.begin_claim(task_id, name, content, facts)
        try:
            self.log.commit_and_wait((), claim=claim)
        except Withdrawn as withdrawn:
            claim.undo()
            raise withdrawn.reason from None
        return claim.entry

    def begin_claim(
        self, task_id: str, name: str, content: Content, facts: Mapping[str, Any]
    ) -> Claim:
        """The claim of a task in the inbox, for a commit of the event log to carry out.

        ``content`` is what was read and validated, ``facts`` how it was routed (kept in the claim
        for readers). Commit point: the journal appears. Raises `Vanished` if the id is just being
        let go of, and `Taken` if it has run or is running. If the commit says `Withdrawn`, the
        caller undoes the claim.
        """
        record = {
            "record": "claim",
            "v": 1,
            "id": task_id,
            "file": name,
            "at": self.clock.wall(),
            "sha256": content.sha256,
            "ino": content.stat.st_ino,
            "dev": content.stat.st_dev,
            "born": atomic.born(self.layout.file(Status.INBOX, name)),
            "mtime_ns": content.stat.st_mtime_ns,
            "instance": self.trust.instance,
            **facts,
            "text": content.raw.decode("utf-8", "replace"),
        }
        target = self.layout.file(Status.RUNNING, name)
        if os.path.lexists(target) and self.ledger.open(task_id) is None:
            raise Taken(f"running/{name} already exists", "orchestrator doctor")
        if not os.path.isdir(self.layout.folder(Status.RUNNING)):
            self.prepare()
        try:
            entry, undo = claimed(self.layout, self.ledger, task_id, record, self.clock)
        except opening.Denied:  # the task's own journal
            raise
        except PermissionError as error:  # a folder of ours: no task is to blame
            name = self.layout.shown(error.filename2 or error.filename)
            raise StoreFault(f"{error.strerror} ({name})") from None
        return Claim(entry, self.layout.file(Status.INBOX, name), target, record["ino"], undo)

    # -- while it runs
    # ------------------------------------------------------------------------------------------

    def request_cancel(self, task_id: str, by: str, requeue: bool = False) -> bool:
        """Leave the request that makes the supervisor stop the attempt; False if there was one
        already."""
        return cancelling.request(self.layout, task_id, by, self.clock.wall(), requeue)

    def cancel_request(self, task_id: str) -> dict[str, Any] | None:
        """Who asked to stop it; None if nobody did."""
        return cancelling.requested(self.layout, task_id)

    # -- finish
    # ----------------------------------------------------------------------------------------------

    def stage_result(self, task_id: str, document: Mapping[str, Any]) -> NewFile:
        """The result under a temporary name; a commit of the event log makes it durable and
        visible."""
        temporary = smallfiles.scratch(self.layout, f"{ids.key(task_id)}.result")
        places.check_folders(self.layout)
        places.clear(self.layout, self.layout.result(task_id))
        atomic.write_temporary(temporary, result_text(document), sync=False)
        return NewFile(temporary, self.layout.result(task_id))

    def settle(
        self, entry: Entry, target: Status, record: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Move the task's file from running/ to ``target`` and close its journal; what was odd on
        the way.

        Commit point: the rename. Repeatable: a task that already exists is fine. Of the tasks in
        the record's ``then`` those that are to be made now are.
        """
        claim = entry.journal.claim
        task_id, name = claim["id"], claim["file"]
        facts = dict(record or {})
        made = following.due(facts.get("then", ()), target)
        if made:
            following.stage(self, task_id, target, made)
            facts["then"] = [item for item in facts["then"] if item not in made]
        oddities = placing.put(self.layout, entry.journal, name, target)
        cancelling.clear(self.layout, task_id)
        entry.append(
            {
                "record": "final",
                "status": str(target),
                "at": self.clock.wall(),
                **facts,
                **placing.identity(self.layout.file(target, name)),
                **placing.changed(self.layout.file(target, name)),
            },
            sync=bool(made),
        )
        if made:
            following.place(self, task_id)
        self.ledger.retire(entry)
        entry.close()
        return oddities

    def requeue(self, entry: Entry, by: str, record: Mapping[str, Any] | None = None) -> None:
        """Put a claimed task back into the inbox; it may be claimed again. ``record`` is what else
        to remember."""
        claim = entry.journal.claim
        placing.put(self.layout, entry.journal, claim["file"], Status.INBOX)
        self.vouch_for(claim["id"], self.layout.file(Status.INBOX, claim["file"]))
        cancelling.clear(self.layout, claim["id"])
        entry.append(
            {
                "record": "requeue",
                "at": self.clock.wall(),
                "by": by,
                **(record or {}),
                **placing.identity(self.layout.file(Status.INBOX, claim["file"])),
            }
        )
        self.ledger.retire(entry)
        entry.close()

    # -- notes beside invalid files
    # ----------------------------------------------------------------------------------

    def write_note(self, task_id: str, text: str) -> None:
        """``<id>.error.md`` beside a file that cannot be a task."""
        path = self.layout.note(task_id)
        smallfiles.put(self.layout, path, text.encode("utf-8", "replace"), "note", sync=False)

    def remove_note(self, task_id: str) -> None:
        atomic.remove(self.layout.note(task_id))
