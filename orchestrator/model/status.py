"""Where a task is (its status: the name of its folder) and how it ended (its outcome)."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.records import dataclass


class Status(StrEnum):
    """The folder a task's file lies in.  The folder *is* the status; nothing else decides it."""

    INBOX = "inbox"
    HELD = "held"
    RUNNING = "running"
    REVIEW = "review"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ARCHIVE = "archive"

    @property
    def word(self) -> str:
        """The word people and programs read: a task in inbox/ is waiting. The glossary has them
        all."""
        return "waiting" if self is Status.INBOX else str(self)


class Outcome(StrEnum):
    """How an attempt or a task ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"


class RunStatus(StrEnum):
    """What a run's tasks add up to; derived at every read, stored nowhere."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Folder:
    """What a status means, so that nobody has to know them all by heart.

    ``waits``: nothing of the task runs, and it may start. ``ended``: nothing of it runs any more.
    ``finished``: it has ended for good, and others may build on how. ``moved`` is the event of a
    person's ``mv`` into the folder; empty where one is something else than a request. ``meaning``
    is what the reference says.
    """

    status: Status
    meaning: str
    waits: bool = False
    ended: bool = False
    finished: bool = False
    moved: str = ""


# In the order in which a reader that sees an id twice (a move by link and unlink, a copy) believes
# the folders.
TABLE = (
    Folder(Status.RUNNING, "claimed by a watcher; the file does not change"),
    Folder(Status.REVIEW, "a person decides", ended=True, moved="task_moved"),
    Folder(Status.DONE, "finished and proven", ended=True, finished=True),
    Folder(Status.FAILED, "failed, or timed out", ended=True, finished=True),
    Folder(
        Status.CANCELLED, "stopped by somebody", ended=True, finished=True, moved="task_cancelled"
    ),
    Folder(Status.HELD, "held by you; never started", waits=True, moved="task_held"),
    Folder(
        Status.INBOX,
        "waiting; dropped here by people and programs",
        waits=True,
        moved="task_released",
    ),
    Folder(Status.ARCHIVE, "ended long ago", ended=True),
)
FOLDERS = tuple(row.status for row in TABLE)
WAITING = tuple(row.status for row in reversed(TABLE) if row.waits)
# Put away: nobody looks at them until they are back in inbox/.
ASIDE = tuple(status for status in WAITING if status is not Status.INBOX)
OPEN = tuple(row.status for row in reversed(TABLE) if not row.ended)
UNDECIDED = (*WAITING, Status.REVIEW)  # nothing of it runs, and it is not over
ENDED = tuple(row.status for row in TABLE if row.ended)
FINISHED = tuple(row.status for row in TABLE if row.finished)
MOVES = {row.status: row.moved for row in TABLE if row.moved}
# In the order in which people read how many there are; nobody counts what ended long ago.
COUNTED = (*(Status.INBOX, Status.RUNNING, Status.REVIEW), *FINISHED, *ASIDE)

# Where a task goes when its last attempt ended so.
STATUS_OF_OUTCOME = {
    Outcome.SUCCEEDED: Status.DONE,
    Outcome.FAILED: Status.FAILED,
    Outcome.TIMED_OUT: Status.FAILED,
    Outcome.CANCELLED: Status.CANCELLED,
    Outcome.LOST: Status.REVIEW,
}


def run_status(tasks: list[tuple[Status | None, bool]]) -> RunStatus:
    """What the tasks of a run add up to.

    Each task is ``(status, stuck)``; None is a task that is nowhere (withdrawn), stuck one whose
    needs can no longer be met. A run is failed only once nothing of it runs or can still run, and
    only if one of its tasks has failed: one that waits for a need that does not exist waits for a
    person.
    """
    known = [(status, stuck) for status, stuck in tasks if status is not None]
    statuses = {status for status, _ in known}
    if Status.RUNNING in statuses:
        return RunStatus.RUNNING
    waiting = [stuck for status, stuck in known if status in UNDECIDED]
    if any(not stuck for stuck in waiting):
        return RunStatus.RUNNING if statuses & set(FINISHED) else RunStatus.WAITING
    if Status.FAILED in statuses:
        return RunStatus.FAILED
    if Status.CANCELLED in statuses or not known:
        return RunStatus.CANCELLED
    return RunStatus.WAITING if waiting else RunStatus.DONE
