"""Every change of a task's status, made safely.  The watcher and the verbs use the same steps.

Each step has one commit point, one atomic system call; what comes after it is repeated by recovery if it was cut
off.  A task that was ever claimed changes only under the lock on its journal; one that was not, by a single rename
that never overwrites, so that people's verbs and the watcher never interleave.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.clock import SYSTEM, Clock
from orchestrator.errors import NotFound, Refused, StoreFault, Taken
from orchestrator.files import owners, runrecords, scan, trust
from orchestrator.files.identity import Identity
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Content
from orchestrator.files.trust import Trust
from orchestrator.model import ids
from orchestrator.model.event import move_step
from orchestrator.model.journal import Phase
from orchestrator.model.sandbox import Bounds
from orchestrator.model.status import ENDED, FINISHED, MOVES, WAITING, Status
from orchestrator.model.units import timestamp
from orchestrator.records import dataclass
from orchestrator.store import (
    atomic,
    bounding,
    cancelling,
    folders,
    following,
    places,
    placing,
    trusting,
)
from orchestrator.store.cardfile import CardFile
from orchestrator.store.claiming import Claim, Withdrawn, claimed, has_run, taken
from orchestrator.store.eventlog import EventLog, GroupCommit, NewFile
from orchestrator.store.ledger import Entry, Ledger
from orchestrator.store.yamltext import result_text

RECENT = 60 * 10**9  # ns: what was renamed just now has changed within this time
PATIENCE = 2.0  # seconds that a verb waits for a step of another process


@dataclass(frozen=True, slots=True)
class Moved:
    """A task that a verb moved."""

    task_id: str
    source: Status
    target: Status
    path: str


def misplaced(task_id: str, status: Status, sources: Collection[Status]) -> Refused:
    """Why a task in this folder cannot be moved as one in ``sources`` can; the same whether it was tried or only asked for."""
    if status is Status.RUNNING:
        return Refused(f"{task_id} is running", f"orchestrator cancel {task_id}   stops it")
    wanted = " or ".join(source.word for source in sources)
    return Refused(f"{task_id} is {status.word}, not {wanted}", f"orchestrator show {task_id}")


class Store:
    """The write side of one work directory."""

    def __init__(self, layout: Layout, log: EventLog | GroupCommit, clock: Clock = SYSTEM) -> None:
        self.layout, self.log, self.clock = layout, log, clock
        self.ledger = Ledger(layout)
        self._trust: Trust | None = None
        self.unremembered = ""  # why something that this machine knows could not be written down
        self.card = CardFile(layout, clock)

    def prepare(self) -> list[str]:
        """Create the folders that are missing; their names."""
        made = folders.make(self.layout)
        self.establish()
        return made

    # -- events -----------------------------------------------------------------------------------------------

    def _say(self, kind: str, task_id: str, step: str = "", **fields: Any) -> None:
        """An event of a verb, on disk when this returns; its id is its own, since a person may do things twice."""
        step = step or f"@{int(self.clock.wall() * 1000)}"
        self.log.commit([self.log.event(kind, task_id, step, task_id=task_id, **fields)]).result()

    @contextmanager
    def _acknowledged(self, task_id: str, undo: Callable[[], None] | None = None) -> Iterator[None]:
        """What must follow a change before it may be called done; if the disk refuses that, the change is taken back."""
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

    # -- submit -----------------------------------------------------------------------------------------------

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

        The caller has validated the text.  ``bounds``: what it may have at most, for good.  When this returns the file survives a power cut.
        """
        why = ids.problem(task_id)
        if why:
            raise Refused(f"the id '{task_id}' {why}", "choose another with --id")
        self.prepare()
        self.check_free(task_id)
        path = self.layout.file(folder, task_id + suffix)
        temporary = self.layout.file(folder, f".{task_id}{suffix}.{owners.own()}.tmp")
        raw = text.encode() if isinstance(text, str) else text
        atomic.remove(temporary)  # of a process with our pid that was killed
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
                f"there is a task '{task_id}' already", "choose another name with --id"
            ) from None
        except OSError as error:
            raise StoreFault(
                f"{self.layout.shown(path)} could not be written: {error.strerror}",
                "no task was made",
            ) from None
        with self._acknowledged(
            task_id, lambda: os.unlink(path)
        ):  # unless the watcher has taken it by then
            atomic.sync_folder(os.path.dirname(path))
            self._say(kind, task_id, phase="submit", status=str(folder), ts=moment, **fields)
        return path

    def check_free(self, task_id: str) -> None:
        """`Taken` if a task or run of this id is anywhere, or has run here."""
        place = scan.locate(self.layout, task_id)
        if place is not None:
            raise Taken(
                f"there is a task '{task_id}' already, in {place[0]}/",
                "choose another name with --id",
            )
        placed = {ids.key(name) for name, _ in scan.task_names(self.layout.folder("runs"))}
        if ids.key(task_id) in placed or runrecords.has_record(self.layout, task_id):
            raise Taken(f"there is a run '{task_id}' already", "choose another name with --id")
        for closed in (False, True):
            if os.path.exists(self.layout.journal(task_id, closed)):
                raise Taken(
                    f"a task '{task_id}' has run here before", "choose another name with --id"
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
        """Remember files that this machine knows (id, sha256, identity), so that git tracking them later is no alarm."""
        try:
            trusting.vouch(self.trust, facts)
        except OSError as error:  # it costs a question later, never a task
            self.unremembered = f"{error.filename or self.trust.folder}: {error.strerror}"

    def vouch_for(self, task_id: str, path: str) -> None:
        """`vouch` for the file that lies at this path now."""
        self.vouch([trusting.fact_of(task_id, path)])

    # -- claim ------------------------------------------------------------------------------------------------

    def claim(self, task_id: str, name: str, content: Content, facts: Mapping[str, Any]) -> Entry:
        """Take a task from the inbox, durably; its journal, open and locked.  Raises as `begin_claim`, and OSError."""
        claim = self.begin_claim(task_id, name, content, facts)
        try:
            self.log.commit((), claim=claim).result()
        except Withdrawn as withdrawn:
            claim.undo()
            raise withdrawn.reason from None
        return claim.entry

    def begin_claim(
        self, task_id: str, name: str, content: Content, facts: Mapping[str, Any]
    ) -> Claim:
        """The claim of a task in the inbox, for a commit of the event log to carry out.

        ``content`` is what was read and validated, ``facts`` how it was routed (kept in the claim for readers).
        Commit point: the journal appears.  Raises `Vanished` if the id is just being let go of, and `Taken` if it has
        run or is running.  If the commit says `Withdrawn`, the caller undoes the claim.
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
            raise Taken(f"running/{name} is there already", "orchestrator doctor")
        if not os.path.isdir(self.layout.folder(Status.RUNNING)):
            self.prepare()
        entry, undo = claimed(self.layout, self.ledger, task_id, record, self.clock)
        return Claim(entry, self.layout.file(Status.INBOX, name), target, record["ino"], undo)

    def refuse_rerun(self, task_id: str, identity: Identity) -> None:
        """`Taken` if the id has run here and this is another file."""
        entry = self.ledger.open(task_id)
        if entry is None:
            return
        with entry:
            journal = entry.journal
            known = journal.inode, journal.last.get("born")
            if journal.phase is Phase.FINAL and known != identity:
                raise taken(journal, task_id)

    # -- while it runs ------------------------------------------------------------------------------------------

    def request_cancel(self, task_id: str, by: str, requeue: bool = False) -> bool:
        """Leave the request that makes the supervisor stop the attempt; False if there was one already."""
        return cancelling.request(self.layout, task_id, by, self.clock.wall(), requeue)

    def cancel_request(self, task_id: str) -> dict[str, Any] | None:
        """Who asked to stop it; None if nobody did."""
        return cancelling.requested(self.layout, task_id)

    # -- finish -------------------------------------------------------------------------------------------------

    def stage_result(self, task_id: str, document: Mapping[str, Any]) -> NewFile:
        """The result under a temporary name; a commit of the event log makes it durable and visible."""
        temporary = f"{self.layout.state}/tmp/{owners.own()}.{ids.key(task_id)}.result"
        places.check_folders(self.layout)
        places.clear(self.layout, self.layout.result(task_id))
        atomic.remove(temporary)
        atomic.write_temporary(temporary, result_text(document), sync=False)
        return NewFile(temporary, self.layout.result(task_id))

    def settle(
        self, entry: Entry, target: Status, record: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Move the task's file from running/ to ``target`` and close its journal; what was odd on the way.

        Commit point: the rename.  Repeatable: a task that is there already is fine.  Of the tasks in the record's ``then``
        those that are to be made now are.
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
                **_identity(self.layout.file(target, name)),
                **_changed(self.layout.file(target, name)),
            },
            sync=bool(made),
        )
        if made:
            following.place(self, task_id)
        self.ledger.retire(entry)
        entry.close()
        return oddities

    def requeue(self, entry: Entry, by: str, record: Mapping[str, Any] | None = None) -> None:
        """Put a claimed task back into the inbox; it may be claimed again.  ``record`` is what else to remember."""
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
                **_identity(self.layout.file(Status.INBOX, claim["file"])),
            }
        )
        self.ledger.retire(entry)
        entry.close()

    # -- people's verbs -------------------------------------------------------------------------------------------

    def hold(self, task_id: str, reason: str = "") -> Moved:
        """inbox/ -> held/."""
        return self._verb(task_id, (Status.INBOX,), Status.HELD, "task_held", reason)

    def release(self, task_id: str) -> Moved:
        """held/ -> inbox/."""
        status, name = self._place(task_id)
        if status is Status.INBOX:
            raise Refused(
                f"{task_id} is not in held/, but in the inbox",
                "if its file says hold: true, remove that line; "
                f"else see: orchestrator why {task_id}",
            )
        return self._verb(task_id, (Status.HELD,), Status.INBOX, "task_released")

    def cancel_waiting(self, task_id: str, reason: str = "") -> Moved:
        """inbox/ or held/ or review/ -> cancelled/."""
        return self._verb(
            task_id,
            (*WAITING, Status.REVIEW),
            Status.CANCELLED,
            "task_cancelled",
            reason,
        )

    def approve(self, task_id: str) -> Moved:
        """A task that waits for approval may start; a task in review/ is done."""
        place = self._place(task_id)
        if place[0] is Status.REVIEW:
            return self._verb(task_id, (Status.REVIEW,), Status.DONE, "task_approved")
        if place[0] is not Status.INBOX:
            raise Refused(f"{task_id} is in {place[0]}/: nothing waits for approval")
        path = self.layout.file(*place)
        with self._acknowledged(task_id):
            self._say("task_approved", task_id, phase="request", status="inbox")
            self.approve_start(task_id, path)
        return Moved(task_id, Status.INBOX, Status.INBOX, path)

    def approve_start(self, task_id: str, path: str) -> None:
        """A file that git may have brought counts.  `Refused` if that cannot be remembered."""
        if not self.trust.approvals:
            raise Refused(
                f"{task_id} cannot be approved: {self.trust.why or 'nothing can be remembered'}",
                "orchestrator approve --settings   accepts a copied project as your own"
                if self.trust.state == trust.COPIED
                else "set XDG_STATE_HOME to a folder it may write to",
            )
        self.vouch_for(task_id, path)

    def reject(self, task_id: str, why: str = "") -> Moved:
        """A task that has not started is cancelled; one in review/ has failed, and a failure is taken note of.

        ``why`` is told by the next attempt, should there be one.
        """
        place = self._place(task_id)
        if why and place[0] in (Status.REVIEW, Status.FAILED):
            self._tell_next(task_id, f"It was rejected: {why}\n")
        if place[0] is Status.FAILED:
            with self._acknowledged(task_id):
                self._say("task_rejected", task_id, phase="request", status="failed", summary=why)
            return Moved(task_id, *(Status.FAILED,) * 2, self.layout.file(*place))
        target = Status.FAILED if place[0] is Status.REVIEW else Status.CANCELLED
        return self._verb(
            task_id, (Status.REVIEW, Status.INBOX, Status.HELD), target, "task_rejected", why
        )

    def _tell_next(self, task_id: str, text: str) -> None:
        """Have the next attempt told, if there will be one."""
        entry = self.ledger.open(task_id)
        if entry is not None:
            with entry:
                self._lock(entry, task_id)
                entry.append({"record": "told", "text": text, "at": self.clock.wall()}, sync=True)

    def retry(self, task_id: str, by: str = "retry", fresh: bool = False) -> Moved:
        """A finished task runs again, as a new attempt: in its session, unless ``fresh``."""
        moved_from = self._place(task_id)[0]
        if moved_from is Status.INBOX:
            return self._retry_refused(task_id)
        more = {"by": by, **({"fresh": True} if fresh else {})}
        return self._verb(task_id, ENDED, Status.INBOX, "task_requeued", requeue=more)

    def _retry_refused(self, task_id: str) -> Moved:
        """A file in the inbox whose id has run (a copy, git): the person says that it is meant."""
        entry = self.ledger.open(task_id)
        if entry is None or entry.journal.phase is not Phase.FINAL:
            raise Refused(f"{task_id} is in inbox/ already")
        with entry, self._acknowledged(task_id):
            self._lock(entry, task_id)
            place = self._place(task_id)
            self._say("task_requeued", task_id, phase="request", status="inbox")
            entry.append(
                {
                    "record": "requeue",
                    "at": self.clock.wall(),
                    "by": "retry",
                    **_identity(self.layout.file(*place)),
                },
                sync=True,
            )
            self.vouch_for(task_id, self.layout.file(*place))
            atomic.remove(self.layout.note(task_id))
            os.utime(self.layout.file(*place))  # the watcher looks again at what changed
        return Moved(task_id, Status.INBOX, Status.INBOX, self.layout.file(*place))

    def archive(self, task_id: str) -> Moved:
        """A finished task goes to archive/."""
        return self._verb(task_id, FINISHED, Status.ARCHIVE, "task_archived")

    def set_aside(self, task_id: str, why: str) -> Moved:
        """What nobody took: review/ -> archive/."""
        return self._verb(task_id, (Status.REVIEW,), Status.ARCHIVE, "task_archived", why)

    def _place(self, task_id: str) -> tuple[Status, str]:
        place = scan.locate(self.layout, task_id)
        if place is None:
            raise NotFound(f"there is no task '{task_id}'", scan.suggest(self.layout, task_id))
        return place

    def _verb(
        self,
        task_id: str,
        sources: tuple[Status, ...],
        target: Status,
        kind: str,
        summary: str = "",
        requeue: Mapping[str, Any] | None = None,
    ) -> Moved:
        entry = self.ledger.open(task_id)
        try:
            if entry is not None:
                self._lock(entry, task_id)
                if entry.journal.phase is Phase.BLOCKED:
                    raise Refused(f"{task_id}: {has_run(entry.journal)}", "orchestrator doctor")
                following.settled(self, entry)
            status, name = self._place(task_id)
            if status not in sources:
                raise misplaced(task_id, status, sources)
            source, path = self.layout.file(status, name), self.layout.file(target, name)
            made = following.due(entry.journal.then, target) if entry is not None else []
            with self._acknowledged(task_id):
                if made:
                    following.stage(self, task_id, target, made)
                if entry is not None:
                    self._note_move(entry, source, target, requeue)
                if requeue or kind == "task_released":
                    self.vouch_for(task_id, source)
                self._rename(source, path)
                step = _step_of(kind, path)
                if made:
                    following.place(self, task_id)
        finally:
            if entry is not None:
                entry.close()
        with self._acknowledged(task_id, lambda: atomic.move(path, source)):
            atomic.sync_folder(os.path.dirname(path))
            atomic.remove(self.layout.note(task_id))
            self._say(
                kind,
                task_id,
                step,
                phase="request",
                status=str(target),
                summary=summary or f"{status} -> {target}",
            )
        return Moved(task_id, status, target, path)

    def _lock(self, entry: Entry, task_id: str) -> None:
        if entry.lock(0):
            return
        if self._place(task_id)[0] is Status.RUNNING:  # that may take hours
            raise misplaced(task_id, Status.RUNNING, ())
        if not entry.lock(PATIENCE):
            raise Refused(
                f"{task_id} is being changed by another process", f"orchestrator show {task_id}"
            )

    def _note_move(
        self, entry: Entry, source: str, target: Status, requeue: Mapping[str, Any] | None
    ) -> None:
        """Tell the ledger what a verb does with a task that has run before."""
        if requeue:
            entry.append(
                {"record": "requeue", "at": self.clock.wall(), **requeue, **_identity(source)},
                sync=True,
            )
        elif entry.journal.phase in (Phase.FINAL, Phase.REQUEUED) and target not in (
            Status.INBOX,
            Status.HELD,
        ):
            entry.append(
                {
                    "record": "final",
                    "status": str(target),
                    "at": self.clock.wall(),
                    **_identity(source),
                }
            )

    def _rename(self, source: str, path: str) -> None:
        try:
            try:
                atomic.move(source, path)
            except FileNotFoundError:
                self.prepare()  # the folder may be missing (git removes empty ones)
                atomic.move(source, path)
        except FileExistsError:
            raise Refused(
                f"{self.layout.shown(path)} is there already", "orchestrator doctor"
            ) from None
        except FileNotFoundError:
            raise Refused(
                f"{self.layout.shown(source)} was moved meanwhile", "orchestrator status"
            ) from None

    # -- notes beside invalid files ----------------------------------------------------------------------------------

    def write_note(self, task_id: str, text: str) -> None:
        """``<id>.error.md`` beside a file that cannot be a task."""
        temporary = f"{self.layout.state}/tmp/{owners.own()}.note"
        atomic.remove(temporary)
        atomic.publish(
            self.layout.note(task_id),
            text.encode("utf-8", "replace"),
            temporary,
            replace=True,
            sync=False,
        )

    def remove_note(self, task_id: str) -> None:
        atomic.remove(self.layout.note(task_id))


def _step_of(kind: str, path: str) -> str:
    """The step of a move that a watcher tells of, too; empty if it is told by the verb alone, or the file has gone on already."""
    if kind not in MOVES.values():
        return ""
    try:
        return move_step(os.lstat(path).st_ctime_ns)
    except FileNotFoundError:
        return ""


def _identity(path: str) -> dict[str, Any]:
    """What a file is known by, whatever its name and folder."""
    return {"ino": os.lstat(path).st_ino, "born": atomic.born(path)}


def _changed(path: str) -> dict[str, Any]:
    """When a rename was made, by the file system's own word for it; nothing where renames leave no such trace."""
    moment = os.lstat(path).st_ctime_ns
    return {"ctime": moment} if abs(time.time_ns() - moment) < RECENT else {}
