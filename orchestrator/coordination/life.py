"""One claimed task, as the watcher keeps it in memory from the claim to its last folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from orchestrator.distributors.base import ExecutionHandle
from orchestrator.model.gates import InUse, Lane
from orchestrator.model.isolation import Change, CheckResult
from orchestrator.model.status import Status
from orchestrator.model.task import Task
from orchestrator.records import dataclass
from orchestrator.store.trees import Tree
from orchestrator.tools.activity import Progress
from orchestrator.tools.routing import Route


@dataclass(slots=True)
class Life:
    """A claimed task.  ``retry_at`` (monotonic) is set while it waits for another attempt."""

    id: str
    name: str
    task: Task
    route: Route
    lane: Lane
    chain: tuple[Route, ...] = ()  # all that could act; `route` is the one that does
    submitted: int = 0
    attempt: int = 0
    handle: ExecutionHandle | None = None
    pid: int = 0
    began: float = 0.0
    retry_at: float | None = None
    in_slot: bool = False
    lent: bool = False  # it asks a person: its slot is for others, its locks are not
    ending: bool = False  # its attempt has ended, and what follows is not settled yet
    parks: bool = False  # its tool has just been parked
    inode: int = 0
    moving: bool = False  # it is claimed, and its file still lies in the inbox
    cost: float = 0.0  # of its attempts that have ended
    tokens: int = 0  # the same
    secrets: tuple[str, ...] = ()  # what its texts must not have, if this watcher began it
    fetched: Mapping[str, str] = field(default_factory=dict)  # the role's own secrets, by name
    progress: Progress | None = None  # of the attempt that runs
    status: Status = Status.RUNNING  # where it is in the end
    records: list[Mapping[str, Any]] = field(
        default_factory=list
    )  # to rebuild the ledger if git clean removed it
    tree: Tree | None = None  # its own, if it has one
    change: Change | None = None  # what its branch holds, as of its last attempt
    planning: bool = False  # its attempts are to plan only
    checks: tuple[CheckResult, ...] = ()  # of its last attempt
    led_to: tuple[str, ...] = ()  # what may have been made at its end

    @property
    def where(self) -> str:
        """Where its attempt is, for people; empty for this machine."""
        return self.handle.where if self.handle is not None else ""

    @property
    def to_count(self) -> Lane:
        """What a slot for it is counted as: with its locks, unless it has kept them."""
        return self.lane.unlocked if self.lent else self.lane

    def lends_slot(self, use: InUse) -> None:
        """It asks a person; its work is half done, so it keeps its locks."""
        self.in_slot, self.lent = False, True
        use.count(self.lane.unlocked, -1)

    def takes_slot(self, use: InUse) -> None:
        """It goes on."""
        use.count(self.to_count)
        self.in_slot, self.lent = True, False

    def leaves_slot(self, use: InUse) -> bool:
        """Its attempt is over; whether it had something that is free now."""
        if self.in_slot:
            use.count(self.lane, -1)
        elif self.lent:
            use.lock(self.lane, -1)
        had = self.in_slot or self.lent
        self.in_slot, self.lent = False, False
        return had
